"""Checkpoints: a folder per step, complete or absent, the last K kept.

RUN/checkpoints/step-000020/ holds the policy in Hugging Face format beside `optimizer.pt`,
`signals.pt` (models that learn beside it) and `state.json`. A folder gets its name only when everything in it has been written, so a half-written
one is never loaded.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from turngym.errors import DataError
from turngym.version import __version__

__all__ = [
    "CHECKPOINT_FORMAT",
    "State",
    "latest",
    "load_optimizer",
    "load_signals",
    "read_state",
    "save",
]

CHECKPOINT_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What `state.json` says."""

    step: int
    """Steps done; the run continues with step number `step`."""
    config_hash: str
    turngym: str = __version__
    format_version: int = CHECKPOINT_FORMAT


def save(
    run: Path,
    model: Any,
    tokenizer: Any,
    optimizer: Mapping[str, Any],
    state: State,
    keep: int,
    signals: Mapping[str, Any] | None = None,
) -> Path:
    """Write a checkpoint, then drop all but the newest `keep`. Gives the folder."""
    final = run / "checkpoints" / f"step-{state.step:06d}"
    if final.is_dir():
        return final
    draft = final.with_name(final.name + ".draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    model.save_pretrained(draft)
    tokenizer.save_pretrained(draft)
    torch.save(dict(optimizer), draft / "optimizer.pt")
    torch.save(dict(signals or {}), draft / "signals.pt")
    (draft / "state.json").write_text(json.dumps(asdict(state), indent=1) + "\n")
    for path in draft.iterdir():
        _sync(path)
    os.replace(draft, final)
    _sync(final.parent)
    for old in _complete(run)[:-keep]:
        shutil.rmtree(old)
    return final


def latest(run: Path) -> Path | None:
    """The newest complete checkpoint of a run."""
    found = _complete(run)
    return found[-1] if found else None


def read_state(checkpoint: Path) -> State:
    """The state beside a checkpoint.

    Raises:
        DataError: missing, malformed, or of a newer format.
    """
    try:
        state = State(**json.loads((checkpoint / "state.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{checkpoint} is not a turngym checkpoint: {error}") from error
    if state.format_version > CHECKPOINT_FORMAT:
        raise DataError(
            f"{checkpoint} has format {state.format_version}, this turngym reads up to "
            f"{CHECKPOINT_FORMAT}: install a newer one"
        )
    return state


def load_optimizer(checkpoint: Path) -> Mapping[str, Any]:
    """The optimizer's state.

    Raises:
        DataError: the file is missing or damaged.
    """
    state: Mapping[str, Any] = _tensors(checkpoint / "optimizer.pt")
    return state


def load_signals(checkpoint: Path) -> Mapping[str, Any]:
    """States of the signals by name; empty in a checkpoint without any.

    Raises:
        DataError: the file is damaged.
    """
    path = checkpoint / "signals.pt"
    if not path.exists():
        return {}
    states: Mapping[str, Any] = _tensors(path)
    return states


def _tensors(path: Path) -> Any:
    try:
        return torch.load(path, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(
            f"{path} is damaged ({error}): delete its folder to continue from the one before"
        ) from error


def _complete(run: Path) -> list[Path]:
    folder = run / "checkpoints"
    return sorted(p for p in folder.glob("step-*") if p.suffix != ".draft" and p.is_dir())


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
