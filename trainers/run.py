"""A run's folder: settings, metrics, trajectories, checkpoints.

RUN/config.json        every setting, resolved
RUN/metrics.jsonl      one line per step, the same bytes for the same seed
RUN/timings.jsonl      seconds and rates per step, kept apart because they never repeat
RUN/evaluations.jsonl  before, during and after training
RUN/trajectories/      one file per step, each episode written as it ends
RUN/checkpoints/       see `trainers.checkpoint`
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from turngym.config import config_hash
from turngym.errors import ConfigError, DataError
from turngym.serial import TrajectoryWriter
from turngym.trainers.config import TrainConfig
from turngym.trainers.evaluate import Evaluation
from turngym.trainers.types import StepResult

__all__ = ["Run"]


class Run:
    """Writes what a training run leaves behind."""

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        self.folder, self.config = folder, config

    @classmethod
    def start(cls, folder: Path, config: TrainConfig) -> Run:
        """A new run in an empty or absent folder.

        Raises:
            ConfigError: the folder already holds a run, or cannot be written.
        """
        if (folder / "config.json").exists():
            raise ConfigError(
                f"{folder} already holds a run: continue it with --resume or choose another --out"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps(config.model_dump(mode="json"), indent=1)
            (folder / "config.json").write_text(text)
        except OSError as error:
            raise ConfigError(f"cannot write a run into {folder}: {error.strerror}") from error
        return cls(folder, config)

    @classmethod
    def resume(cls, folder: Path, config: TrainConfig, step: int) -> Run:
        """Continue a run from the checkpoint at `step`; lines of later steps are taken back.

        Raises:
            ConfigError: no run there, or one with other settings; names the settings that differ.
        """
        try:
            old = json.loads((folder / "config.json").read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(f"no run to resume in {folder}: start it without --resume") from error
        changed = _differences(old, config.model_dump(mode="json"))
        if changed:
            raise ConfigError(f"{folder} was started with other settings: {'; '.join(changed)}")
        run = cls(folder, config)
        for name in ("metrics.jsonl", "timings.jsonl", "evaluations.jsonl"):
            run._take_back(folder / name, step)
        return run

    @property
    def config_hash(self) -> str:
        """Of all settings."""
        return config_hash(self.config)

    def trajectories(self, label: str) -> TrajectoryWriter:
        """A writer for one step or evaluation, empty even if an interrupted attempt wrote there."""
        path = self.trajectory_file(label)
        path.unlink(missing_ok=True)
        return TrajectoryWriter(path)

    def trajectory_file(self, label: str) -> Path:
        """Where the episodes of one step or evaluation lie."""
        return self.folder / "trajectories" / f"{label}.jsonl"

    def log_step(self, result: StepResult) -> None:
        """Append one step to metrics.jsonl and timings.jsonl."""
        data = asdict(result)
        seconds = data.pop("seconds")
        self._append("metrics.jsonl", data)
        self._append("timings.jsonl", {"step": result.step, **seconds})

    def log_evaluation(self, step: int, label: str, evaluation: Evaluation) -> None:
        """Append one evaluation."""
        self._append("evaluations.jsonl", {"step": step, "label": label, **asdict(evaluation)})

    def evaluations(self) -> list[dict[str, Any]]:
        """The lines of evaluations.jsonl."""
        return _lines(self.folder / "evaluations.jsonl")

    def _append(self, name: str, data: Mapping[str, Any]) -> None:
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(_finite(data), sort_keys=True, allow_nan=False) + "\n")

    @staticmethod
    def _take_back(path: Path, step: int) -> None:
        # Evaluations at `step` itself were made after the checkpoint, but for the one before all.
        kept = [
            line for line in _lines(path) if line["step"] < step or (step > 0 and line["step"] == 0)
        ]
        draft = path.with_suffix(".draft")
        draft.write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in kept))
        draft.replace(path)


def _finite(value: Any) -> Any:
    """`value` with NaN and infinities as None: JSON has no word for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return value


def _lines(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a JSONL file; a last line without its newline is left out."""
    if not path.exists():
        return []
    complete = path.read_text(encoding="utf-8").split("\n")[:-1]
    try:
        return [json.loads(line) for line in complete]
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from error


def _differences(old: Any, new: Any, where: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in sorted({*old, *new}):
            found += _differences(old.get(key), new.get(key), f"{where}.{key}".lstrip("."))
        return found
    return [] if old == new else [f"{where} was {old!r}, now {new!r}"]
