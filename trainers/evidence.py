"""Evidence of a step whose numbers were not finite: its batch and credit, to be looked at later."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from turngym.errors import DataError
from turngym.trainers.files import sync
from turngym.trainers.types import Credit, TurnBatch
from turngym.version import __version__

__all__ = ["Evidence", "load_evidence", "save_evidence"]

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One step that was skipped."""

    step: int
    loss: float
    grad_norm: float
    skipped: tuple[str, ...]
    """Whose update was left out: `policy`, or the name of a signal."""
    batch: TurnBatch
    """With all signal columns, on the CPU; the episodes are in `trajectories/` of the run."""
    credit: Credit

    def suspects(self) -> dict[str, int]:
        """Number of values that are not finite, for every column of batch and credit that has any."""
        columns = {f"batch.{name}": column for name, column in _tensors(self.batch).items()}
        columns |= {f"credit.{name}": column for name, column in _tensors(self.credit).items()}
        counts = {
            name: int((~column.isfinite()).sum())
            for name, column in columns.items()
            if column.is_floating_point()
        }
        return {name: count for name, count in counts.items() if count}


def save_evidence(path: Path, evidence: Evidence) -> None:
    """Write a file that is whole or absent."""
    data = {item.name: getattr(evidence, item.name) for item in fields(evidence)}
    data |= {"batch": _plain(evidence.batch), "credit": _plain(evidence.credit)}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    torch.save({"format_version": FORMAT, "turngym": __version__, "evidence": data}, draft)
    sync(draft)
    draft.replace(path)


def load_evidence(path: str | Path) -> Evidence:
    """What `save_evidence` wrote.

    Raises:
        DataError: the file is missing, no evidence, damaged or of a newer format.
    """
    try:
        found = torch.load(path, weights_only=True, map_location="cpu")
        version, data = found["format_version"], found["evidence"]
        if version != FORMAT:
            raise ValueError(f"format {version}, this turngym reads {FORMAT}")
        data["batch"], data["credit"] = TurnBatch(**data["batch"]), Credit(**data["credit"])
        return Evidence(**data)
    except Exception as error:  # pickle and zip readers raise whatever damaged bytes lead them to
        raise DataError(f"{path} holds no evidence of a skipped step: {error}") from error


def _plain(columns: TurnBatch | Credit) -> dict[str, Any]:
    """Fields by name, all tensors on the CPU."""
    return {item.name: _to_cpu(getattr(columns, item.name)) for item in fields(columns)}


def _to_cpu(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    return {key: _to_cpu(item) for key, item in value.items()} if isinstance(value, dict) else value


def _tensors(columns: TurnBatch | Credit) -> dict[str, torch.Tensor]:
    """Every tensor by its name, signal columns and metrics included."""
    found: dict[str, torch.Tensor] = {}
    for item in fields(columns):
        value = getattr(columns, item.name)
        inner = value.items() if isinstance(value, dict) else [("", value)]
        for name, tensor in inner:
            if isinstance(tensor, torch.Tensor):
                found[f"{item.name}.{name}".rstrip(".")] = tensor
    return found
