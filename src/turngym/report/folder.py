"""A run's folder, read: settings, lines per step, trajectories and their credit. Needs no torch.

A plain file of trajectories (`turngym rollout --out`) counts as a run without steps.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from turngym.errors import DataError
from turngym.serial import read_jsonl
from turngym.trainers.ledger import Credited, read_ledger
from turngym.types import Trajectory

__all__ = ["Kind", "RunFolder", "Stage"]

T = TypeVar("T")
Kind = Literal["training", "evaluation", "file"]

_LARGE = frozenset({"trajectories", "ledger", "details"})
_STEP = re.compile(r"step-(\d+)$")
_EVALUATION = re.compile(r"evaluation-(?:(\d+)-)?(.+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One file of trajectories."""

    kind: Kind
    label: str
    """What a reader calls it: `step 3`, `after-1`, `during-1 after step 20`; unique in a run."""
    step: int
    """Steps done before it was played; 0 outside a run."""
    path: Path


@dataclass(slots=True)
class _Cached:
    stamp: tuple[tuple[int, int], ...]
    content: Any


@dataclass(slots=True)
class RunFolder:
    """Reads a run as it stands.

    What was worked out from a file is kept until the file changes; of trajectories themselves only
    the file that was read last, so that a long run does not fill the memory.
    """

    path: Path
    name: str
    _cache: dict[tuple[Path, str], _Cached] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, name: str | None = None) -> RunFolder:
        """The run at `path`.

        Raises:
            DataError: neither a run's folder nor a file.
        """
        run = cls(path, name or path.stem if path.is_file() else name or path.resolve().name)
        if not path.is_file() and not (path / "config.json").is_file():
            raise DataError(
                f"{path} is no run: expected a folder with config.json, as `turngym train --out "
                "FOLDER` leaves it, or a .jsonl file of trajectories"
            )
        return run

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings as JSON; empty for a plain file."""
        path = self.path / "config.json"
        if not path.is_file():
            return {}
        try:
            found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path} is damaged: {error}") from error
        return found

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """One line per finished step."""
        return self._lines("metrics.jsonl")

    @property
    def timings(self) -> list[dict[str, Any]]:
        """Seconds per step."""
        return self._lines("timings.jsonl")

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """Before, during and after training."""
        return self._lines("evaluations.jsonl")

    def stages(self) -> list[Stage]:
        """The files of trajectories: training by step, then evaluations by step."""
        if self.path.is_file():
            return [Stage(kind="file", label=self.path.name, step=0, path=self.path)]
        found = []
        for path in sorted((self.path / "trajectories").glob("*.jsonl")):
            if match := _STEP.match(path.stem):
                step = int(match[1])
                found.append(Stage(kind="training", label=f"step {step}", step=step, path=path))
            elif match := _EVALUATION.match(path.stem):
                step, label = int(match[1] or 0), match[2]
                if label.startswith("during"):  # there are several of these
                    label = f"{label} after step {step}"
                found.append(Stage(kind="evaluation", label=label, step=step, path=path))
        return sorted(found, key=lambda stage: (stage.kind == "evaluation", stage.step))

    def trajectories(self, stage: Stage) -> Sequence[Trajectory]:
        """Of one file; a half-written last line is left out."""
        for other in [
            key for key in self._cache if key[1] in _LARGE and key[0].name != stage.path.name
        ]:
            del self._cache[other]
        found: Sequence[Trajectory] = self._cached(
            stage.path, "trajectories", lambda path: tuple(read_jsonl(path))
        )
        return found

    def derived(self, stage: Stage, name: str, work_out: Callable[[], T]) -> T:
        """What `work_out` gives, kept under `name` until a file of the stage changes."""
        # Credit is written after the episodes: what was worked out before it came is out of date.
        beside = [self.path / folder / stage.path.name for folder in ("credit", "details")]
        found: T = self._cached(stage.path, name, lambda _: work_out(), beside)
        return found

    def details(self, stage: Stage) -> Mapping[str, Mapping[str, Any]]:
        """Token by token, by episode (`trainers.details`); empty where nothing was kept."""
        path = self.path / "details" / stage.path.name
        if stage.kind != "training" or not path.is_file():
            return {}
        return {line["episode"]: line for line in self._cached(path, "details", _read_lines)}

    def ledger(self, stage: Stage) -> Mapping[str, Credited]:
        """What the run's own credit method gave, by episode; empty outside training."""
        path = self.path / "credit" / stage.path.name
        if stage.kind != "training" or not path.is_file():
            return {}
        rows = self._cached(path, "ledger", lambda path: tuple(read_ledger(path)))
        return {row.episode: row for row in rows}

    def stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Changes whenever a file of the run does."""
        names = ("metrics.jsonl", "timings.jsonl", "evaluations.jsonl", "config.json")
        paths = [self.path / name for name in names] if self.path.is_dir() else []
        paths += [stage.path for stage in self.stages()]
        return tuple((str(path), *_stamp(path)) for path in paths if path.exists())

    def _lines(self, name: str) -> list[dict[str, Any]]:
        path = self.path / name
        if not path.is_file():
            return []
        found: list[dict[str, Any]] = self._cached(path, "lines", _read_lines)
        return found

    def _cached(
        self, path: Path, name: str, read: Callable[[Path], Any], beside: Iterable[Path] = ()
    ) -> Any:
        stamp = (_stamp(path), *(_stamp(other) for other in beside if other.exists()))
        kept = self._cache.get((path, name))
        if kept is None or kept.stamp != stamp:
            kept = self._cache[path, name] = _Cached(stamp, read(path))
        return kept.content


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """The complete lines; one without its newline is still being written."""
    complete = path.read_text(encoding="utf-8").split("\n")[:-1]
    try:
        return [json.loads(line) for line in complete]
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from error
