"""Predictions in every form that the SWE data sets use.

A `.jsonl` file, a `.json` list, or a `.json` object keyed by instance (mini-swe-agent's
`preds.json`, SWE-bench-Live). The patch is `model_patch` (SWE-bench), `patch` (SWE-smith) or
`fix_patch` with org, repo and number (Multi-SWE-bench).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turngym.envs.swe.tasks import Task
from turngym.errors import DataError

__all__ = ["Prediction", "read_predictions", "reference_predictions", "write_predictions"]

_PATCH_KEYS = ("model_patch", "patch", "fix_patch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One answer to one task."""

    instance_id: str
    patch: str | None
    """A unified diff; None and blank text both count as empty."""
    model: str = "unknown"
    reverse: bool = False
    """Apply the diff backwards: the gold of SWE-smith, whose rows hold the bug."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to apply."""
        return not (self.patch or "").strip()


def read_predictions(path: str | Path) -> tuple[Prediction, ...]:
    """All predictions of a file, in its order.

    Raises:
        DataError: no such file, not one of the known forms, or an instance answered twice.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"no predictions file {file}; `gold` and `empty` are the built-in ones")
    text = file.read_text(encoding="utf-8")
    try:
        if file.suffix == ".jsonl":
            loaded: Any = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            loaded = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{file} is not valid JSON: {error}") from error
    if isinstance(loaded, dict):
        loaded = [_keyed(key, value, file) for key, value in loaded.items()]
    if not isinstance(loaded, list):
        raise DataError(f"{file} must hold a list or an object, got {type(loaded).__name__}")
    found: dict[str, Prediction] = {}
    for number, row in enumerate(loaded, start=1):
        prediction = _prediction(row, f"{file}, entry {number}")
        if prediction.instance_id in found:
            raise DataError(f"{file}, entry {number}: {prediction.instance_id!r} is answered twice")
        found[prediction.instance_id] = prediction
    return tuple(found.values())


def reference_predictions(tasks: Iterable[Task], kind: str) -> tuple[Prediction, ...]:
    """The built-in answers: `gold` (the reference fix) or `empty`.

    SWE-smith rows hold the bug, so their gold is the bug patch reversed.

    Raises:
        DataError: a task has no reference fix.
    """
    if kind not in ("gold", "empty"):
        raise DataError(f"built-in predictions are 'gold' and 'empty', got {kind!r}")
    made = []
    for task in tasks:
        patch: str | None = None
        if kind == "gold":
            patch = task.bug_patch or task.gold_patch
            if not patch:
                raise DataError(f"{task.instance_id} has no reference fix ({task.form})")
        reverse = bool(patch and task.bug_patch)
        made.append(
            Prediction(instance_id=task.instance_id, patch=patch, model=kind, reverse=reverse)
        )
    return tuple(made)


def write_predictions(predictions: Iterable[Prediction], path: str | Path) -> None:
    """Write `.jsonl` in SWE-bench's form."""
    lines = [
        json.dumps(
            {
                "instance_id": item.instance_id,
                "model_name_or_path": item.model,
                "model_patch": item.patch,
            }
        )
        for item in predictions
    ]
    Path(path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _keyed(key: str, value: Any, file: Path) -> Any:
    if isinstance(value, str) or value is None:
        return {"instance_id": key, "model_patch": value}
    if not isinstance(value, Mapping):
        raise DataError(f"{file}: {key!r} must hold a patch or an object, got {value!r:.60}")
    return {"instance_id": key, **value}


def _prediction(row: Any, where: str) -> Prediction:
    if not isinstance(row, Mapping):
        raise DataError(f"{where} must be an object, got {row!r:.60}")
    instance = row.get("instance_id")
    if instance is None and all(key in row for key in ("org", "repo", "number")):
        instance = f"{row['org']}__{row['repo']}-{row['number']}"
    key = next((key for key in _PATCH_KEYS if key in row), None)
    if instance is None or key is None:
        raise DataError(
            f"{where} needs instance_id and one of {', '.join(_PATCH_KEYS)}; it has: "
            f"{', '.join(row) or 'nothing'}"
        )
    patch = row[key]
    if patch is not None and not isinstance(patch, str):
        raise DataError(f"{where}: {key} must be text or null, got {patch!r:.60}")
    model = row.get("model_name_or_path") or row.get("model") or "unknown"
    return Prediction(instance_id=str(instance), patch=patch, model=str(model))
