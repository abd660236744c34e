"""Checkpoints: a folder per step, whole or never loaded, the last K kept.

RUN/checkpoints/step-000020/ holds the policy in Hugging Face format beside `optimizer.pt`,
`signals.pt` (models that learn beside it) and `state.json`, which lists every other file with its
SHA-256. A folder gets its name only when all of it is on disk; one that was damaged later is passed
over, and the run continues from the one before to the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from turngym.errors import DataError, StorageFailure
from turngym.trainers.files import sync
from turngym.version import __version__

__all__ = [
    "CHECKPOINT_FORMAT",
    "State",
    "damage",
    "latest",
    "load_optimizer",
    "load_signals",
    "numerics",
    "read_state",
    "save",
    "tidy",
]

CHECKPOINT_FORMAT = 2
"""Format 1 had no list of files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What `state.json` says."""

    step: int
    """Steps done; the run continues with step number `step`."""
    config_hash: str
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of every other file of the checkpoint, by its name there."""
    numerics: str = ""
    """What the last bits of a number depend on: version of torch, threads, device."""
    turngym: str = __version__
    format_version: int = CHECKPOINT_FORMAT


def numerics(device: torch.device) -> str:
    """What the last bits of a number depend on, in this process."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads, {name}"


def save(
    run: Path,
    model: Any,
    tokenizer: Any,
    optimizer: Mapping[str, Any],
    state: State,
    keep: int,
    signals: Mapping[str, Any] | None = None,
) -> Path:
    """Write a checkpoint, then drop all but the newest `keep`. Gives the folder.

    Raises:
        StorageFailure: the disk does not take it; older checkpoints are as they were.
    """
    final = run / "checkpoints" / _name(state.step)
    if final.is_dir():
        if not damage(final):
            return final
        _remove([final])
    draft = final.with_name(final.name + ".draft")
    _remove([draft])
    try:
        draft.mkdir(parents=True)
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        torch.save(dict(optimizer), draft / "optimizer.pt")
        torch.save(dict(signals or {}), draft / "signals.pt")
        _seal(draft, state)
        os.replace(draft, final)
        sync(final.parent)
    except Exception as error:  # torch and safetensors have errors of their own for a full disk
        _remove([draft])
        raise StorageFailure(
            f"cannot write {final}: {error}. Make room and continue with --resume; what earlier "
            "checkpoints hold is safe"
        ) from error
    tidy(run, state.step, keep)
    return final


def latest(run: Path, report: Callable[[str], None] = lambda _: None) -> Path | None:
    """The newest whole checkpoint of a run, None if none was ever written.

    Args:
        run: the run's folder.
        report: hears of every damaged one that is passed over.

    Raises:
        DataError: there are checkpoints, and every one is damaged.
    """
    faults = []
    for folder in reversed(_named(run)):
        fault = damage(folder)
        if not fault:
            return folder
        faults.append(f"{folder} is damaged: {fault}")
        report(f"{faults[-1]}; continuing from the one before")
    if faults:
        raise DataError(
            f"{'; '.join(faults)}. Delete {run / 'checkpoints'} to begin the run again with --resume"
        )
    return None


def tidy(run: Path, step: int, keep: int) -> None:
    """Leave the newest `keep` checkpoints up to `step`, nothing later and nothing unfinished.

    What is later than the checkpoint that a run continues from is damaged, and will be made again.
    """
    folder = run / "checkpoints"
    _remove(folder.glob("*.draft"))
    _remove(path for path in _named(run) if path.name > _name(step))
    _remove(_named(run)[:-keep])


def damage(checkpoint: Path) -> str:
    """What is wrong with the files of a checkpoint, "" if it is whole."""
    try:
        state = read_state(checkpoint)
    except DataError as error:
        return str(error)
    for name, digest in state.files.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if _digest(path) != digest:
            return f"{name} is not what was written ({path.stat().st_size} bytes)"
    return ""


def read_state(checkpoint: Path) -> State:
    """The state beside a checkpoint.

    Raises:
        DataError: missing, malformed, or of a newer format.
    """
    try:
        state = State(**{"files": {}, **json.loads((checkpoint / "state.json").read_text())})
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


def _seal(draft: Path, state: State) -> None:
    """Write `state.json` over all files in `draft` and wait until the disk has them."""
    files = sorted(path for path in draft.rglob("*") if path.is_file())
    digests = {path.relative_to(draft).as_posix(): _digest(path) for path in files}
    text = json.dumps(asdict(state) | {"files": digests}, indent=1)
    (draft / "state.json").write_text(text + "\n")
    for path in (*files, draft / "state.json", draft):
        sync(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _name(step: int) -> str:
    return f"step-{step:06d}"


def _named(run: Path) -> list[Path]:
    """Folders that carry the name of a checkpoint, oldest first."""
    folder = run / "checkpoints"
    return sorted(p for p in folder.glob("step-*") if p.suffix != ".draft" and p.is_dir())


def _remove(folders: Iterable[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
