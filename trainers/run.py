"""A run's folder: settings, metrics, trajectories, checkpoints. docs/training.md describes it.

A run can be killed at any moment. What it wrote after its newest whole checkpoint is taken back when
it is resumed, and written again to the same bytes.
"""

from __future__ import annotations

import fcntl
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from turngym.config import config_hash
from turngym.errors import ConfigError, DataError, RunStopped, StorageFailure
from turngym.serial import TrajectoryWriter
from turngym.trainers import checkpoint
from turngym.trainers.config import TrainConfig
from turngym.trainers.details import TrajectoryDetail
from turngym.trainers.evaluate import Evaluation
from turngym.trainers.evidence import Evidence, save_evidence
from turngym.trainers.files import append_line, write_whole
from turngym.trainers.ledger import Credited, write_ledger
from turngym.trainers.loggers import Loggers, Opening, find_loggers
from turngym.trainers.types import StepResult

__all__ = ["Run"]

EVIDENCE_KEPT = 10
"""Evidence files of a run: the newest."""
FREE = frozenset({"steps", "loggers", "checkpoint_every", "keep_checkpoints", "rollout.workers"})
"""Settings that a resumed run may change; `steps` under the conditions of `Run.reopen`."""


class Run:
    """Writes what a training run leaves behind."""

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        self.folder, self.config = folder, config
        self.loggers = Loggers({})

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
        run = cls(folder, config)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            run._write_config()
        except OSError as error:
            raise ConfigError(f"cannot write a run into {folder}: {error.strerror}") from error
        return run

    @classmethod
    def reopen(cls, folder: Path, config: TrainConfig) -> Run:
        """The run in a folder, to be continued; nothing there is changed yet.

        More steps than before are taken up where the settings of the first ones do not depend on
        their number.

        Raises:
            ConfigError: no run there, or one with other settings; names the settings that differ.
        """
        try:
            old = json.loads((folder / "config.json").read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(f"no run to resume in {folder}: start it without --resume") from error
        new, old = config.model_dump(mode="json"), _resolved(old)
        changed = _differences(old, new)
        if changed:
            raise ConfigError(f"{folder} was started with other settings: {'; '.join(changed)}")
        if old["steps"] != config.steps and config.optimizer.schedule != "constant":
            raise ConfigError(
                f"{folder} was started with steps = {old['steps']}, now {config.steps}: the "
                f"learning rate of every step depends on it with optimizer.schedule = "
                f"{config.optimizer.schedule!r}. Only a run with the constant schedule can be "
                "given another number of steps"
            )
        return cls(folder, config)

    def take_back(self, step: int) -> None:
        """Make the folder that of a run which has done `step` steps.

        Raises:
            ConfigError: more steps are done than the settings ask for.
        """
        if step > self.config.steps:
            raise ConfigError(f"{self.folder} has done {step} steps, more than {self.config.steps}")
        (self.folder / "finished.json").unlink(missing_ok=True)
        self._write_config()
        for name in ("metrics.jsonl", "timings.jsonl", "evaluations.jsonl"):
            _take_back(self.folder / name, step)
        checkpoint.tidy(self.folder, step, self.config.keep_checkpoints)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out while the block runs; a killed one leaves no lock behind.

        Raises:
            ConfigError: another process is training in this folder.
        """
        with (self.folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(f"another process is training in {self.folder}") from error
            yield

    @property
    def finished(self) -> str:
        """How the run ended, once the steps of the settings and the evaluation after them are done;
        "" before."""
        try:
            done = json.loads((self.folder / "finished.json").read_text())
        except (OSError, ValueError):
            return ""
        if done["asked"] != self.config.steps:
            return ""
        early = " (stopped early)" if done["steps"] < done["asked"] else ""
        return f"{done['steps']} of {done['asked']} steps are done{early}"

    def finish(self, steps: int) -> None:
        """Say that nothing is left to do after `steps` steps."""
        done = {"steps": steps, "asked": self.config.steps}
        write_whole(self.folder / "finished.json", json.dumps(done) + "\n")

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
        timed = {f"seconds/{name}": value for name, value in seconds.items()}
        self.loggers.log(result.step + 1, {**_scalars(data), **data["metrics"], **timed})

    def log_details(self, step: int, details: Iterable[TrajectoryDetail]) -> None:
        """Write the step's file under details/, if there is anything to write."""
        lines = [json.dumps(_finite(asdict(each)), sort_keys=True) for each in details]
        if not lines:
            return
        path = self.folder / "details" / f"step-{step:06d}.jsonl"
        text = "".join(f"{line}\n" for line in lines)

        def write() -> None:
            path.parent.mkdir(exist_ok=True)
            write_whole(path, text)

        _storing(path, write)

    def log_credit(self, step: int, rows: Sequence[Credited]) -> None:
        """Write what the credit method gave to the episodes of a step."""
        path = self.folder / "credit" / f"step-{step:06d}.jsonl"
        _storing(path, lambda: write_ledger(path, rows))

    def log_evaluation(self, step: int, label: str, evaluation: Evaluation) -> None:
        """Append one evaluation."""
        data = asdict(evaluation)
        self._append("evaluations.jsonl", {"step": step, "label": label, **data})
        figures = {name: data[name]["value"] for name in ("success", "outcome")}
        figures |= {f"pass@{each.k}": each.at.value for each in evaluation.passes}
        figures |= {f"pass^{each.k}": each.hat.value for each in evaluation.passes}
        self.loggers.log(step, {f"eval/{label}/{key}": value for key, value in figures.items()})

    def open_loggers(self, step: int, report: Callable[[str], None]) -> None:
        """Let the loggers of the settings take what is logged from here on, after `step` steps."""
        settings = self.config.model_dump(mode="json")
        opening = Opening(folder=self.folder, settings=settings, step=step)
        self.loggers = Loggers(find_loggers(self.config.loggers), opening, report)

    def evaluations(self) -> list[dict[str, Any]]:
        """The lines of evaluations.jsonl."""
        return _lines(self.folder / "evaluations.jsonl")

    def skipped_in_a_row(self) -> int:
        """How many of the last steps were skipped, one after the other."""
        row = 0
        for line in reversed(_lines(self.folder / "metrics.jsonl")):
            if not line["skipped"]:
                break
            row += 1
        return row

    def stop_if_stuck(self) -> None:
        """End a run whose last `max_skipped_steps` steps were all skipped.

        Raises:
            RunStopped: it is so; names the evidence.
        """
        limit = self.config.max_skipped_steps
        if self.skipped_in_a_row() < limit:
            return
        path = max((self.folder / "evidence").glob("step-*.pt"))
        raise RunStopped(
            f"loss or gradient were not finite in {limit} steps in a row. The batch of the last "
            f"one: turngym.trainers.evidence.load_evidence({str(path)!r})"
        )

    def keep_evidence(self, evidence: Evidence) -> None:
        """Save the batch of a skipped step, and drop all but the newest of them."""
        path = self.folder / "evidence" / f"step-{evidence.step:06d}.pt"
        _storing(path, lambda: save_evidence(path, evidence))
        for old in sorted(path.parent.glob("step-*.pt"))[:-EVIDENCE_KEPT]:
            old.unlink()

    def _write_config(self) -> None:
        text = json.dumps(self.config.model_dump(mode="json"), indent=1)
        write_whole(self.folder / "config.json", text)

    def _append(self, name: str, data: Mapping[str, Any]) -> None:
        path = self.folder / name
        line = json.dumps(_finite(data), sort_keys=True, allow_nan=False)
        _storing(path, lambda: append_line(path, line))


def _storing(path: Path, write: Callable[[], None]) -> None:
    try:
        write()
    except (OSError, RuntimeError) as error:  # the latter is torch's word for a full disk
        raise StorageFailure(
            f"cannot write {path}: {error}. Make room and continue with --resume"
        ) from error


def _take_back(path: Path, step: int) -> None:
    # Evaluations at `step` itself were made after the checkpoint, but for the one before all.
    kept = [
        line for line in _lines(path) if line["step"] < step or (step > 0 and line["step"] == 0)
    ]
    write_whole(path, "".join(json.dumps(line, sort_keys=True) + "\n" for line in kept))


def _scalars(data: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a step's record that are no metrics of their own."""
    return {
        name: float(value)
        for name, value in data.items()
        if name != "step" and isinstance(value, int | float)
    }


def _finite(value: Any) -> Any:
    """`value` with NaN and infinities as None: JSON has no word for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _lines(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a JSONL file; a last line without its newline is left out."""
    if not path.exists():
        return []
    complete = path.read_text(encoding="utf-8").split("\n")[:-1]
    try:
        return [json.loads(line) for line in complete]
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from error


def _resolved(old: dict[str, Any]) -> dict[str, Any]:
    """Settings of a run, those included that an older turngym did not know."""
    try:
        return TrainConfig.model_validate(old).model_dump(mode="json")
    except ValueError:
        return old


def _differences(old: Any, new: Any, where: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in sorted({*old, *new}):
            found += _differences(old.get(key), new.get(key), f"{where}.{key}".lstrip("."))
        return found
    return [] if old == new or where in FREE else [f"{where} was {old!r}, now {new!r}"]
