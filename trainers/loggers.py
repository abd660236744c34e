"""Where figures go beside metrics.jsonl: TensorBoard, Weights & Biases, trackio, or one of your own.

    loggers = ["tensorboard", "mine.logs:Mine"]

A logger is a class or function that takes an `Opening` and gives an object with `log` and `close`.
The files of the run are its record; a logger that fails is left out and never ends a run.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from turngym.errors import ConfigError, MissingExtraError
from turngym.registry import Registry, load_object
from turngym.trainers.files import write_whole

__all__ = [
    "LOGGERS",
    "Logger",
    "Loggers",
    "Opening",
    "TensorBoard",
    "Trackio",
    "WeightsAndBiases",
    "find_loggers",
]

PROJECT = "turngym"


class Logger(Protocol):
    """What takes the figures of a run."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Figures after `step` steps, by names such as `success` or `eval/after-1/success`."""
        ...

    def close(self) -> None:
        """Nothing more will come."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a logger is opened with."""

    folder: Path
    """Of the run."""
    settings: Mapping[str, Any]
    """Every setting of the run."""
    step: int
    """Steps done; a resumed run logs later ones again, with equal values."""

    def identity(self) -> str:
        """A name for the run that no other run has, kept in its folder."""
        path = self.folder / "identity.txt"
        if not path.exists():
            write_whole(path, uuid.uuid4().hex[:16] + "\n")
        return path.read_text(encoding="utf-8").strip()


OpenLogger = Callable[[Opening], Logger]

LOGGERS: Registry[OpenLogger] = Registry("logger")


@LOGGERS.register("tensorboard")
class TensorBoard:
    """Event files under RUN/tensorboard."""

    package, extra = "tensorboard", "tensorboard"

    def __init__(self, opening: Opening) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Readers drop what an earlier, killed attempt logged from this step on.
        self._writer = SummaryWriter(opening.folder / "tensorboard", purge_step=opening.step + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One scalar per figure, on disk at once."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


@LOGGERS.register("wandb")
class WeightsAndBiases:
    """A run of the project in WANDB_PROJECT (`turngym`), continued when the run is resumed."""

    package, extra = "wandb", "wandb"

    def __init__(self, opening: Opening) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=opening.folder.name,
            id=opening.identity(),
            resume="allow",
            dir=opening.folder,
            config=dict(opening.settings),
            settings=wandb.Settings(silent=True),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One history row; wandb itself leaves out steps that it has."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


@LOGGERS.register("trackio")
class Trackio:
    """A run of the project `turngym` in TRACKIO_DIR, continued when the run is resumed."""

    package, extra = "trackio", "trackio"

    def __init__(self, opening: Opening) -> None:
        import trackio

        name = f"{opening.folder.name}-{opening.identity()}"
        self._run = trackio.init(
            project=PROJECT,
            name=name,
            config=dict(opening.settings),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One row; a resumed run writes the rows after its checkpoint again."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


def find_loggers(names: Iterable[str]) -> dict[str, OpenLogger]:
    """What opens each logger: a registered name, or `module:attribute` of one's own.

    Raises:
        UnknownNameError: no such logger; lists the known ones and the closest.
        MissingExtraError: its package is not installed.
        ConfigError: the import path leads nowhere.
    """
    found = {}
    for name in names:
        if ":" not in name:
            entry = LOGGERS[name]
            package = getattr(entry, "package", None)
            if package is not None and find_spec(package) is None:
                raise MissingExtraError(package, getattr(entry, "extra", package))
        else:
            try:
                entry = load_object(name)
            except (ImportError, AttributeError, ValueError) as error:
                raise ConfigError(f"cannot load the logger {name!r}: {error}") from error
        found[name] = entry
    return found


class Loggers:
    """The loggers of a run; one that fails is reported and left out.

    Args:
        found: what opens each, by name (`find_loggers`).
        opening: of the run.
        report: hears of failures.
    """

    def __init__(
        self,
        found: Mapping[str, OpenLogger],
        opening: Opening | None = None,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._report = report
        self._live: dict[str, Logger] = {}
        for name, entry in found.items():
            self._guarded(name, lambda name=name, entry=entry: self._open(name, entry, opening))  # type: ignore[misc]

    def log(self, step: int, values: Mapping[str, float | None]) -> None:
        """Figures after `step` steps, for every logger that is left; None is no figure."""
        known = {name: value for name, value in values.items() if value is not None}
        for name, each in list(self._live.items()):
            self._guarded(name, lambda each=each: each.log(step, known))  # type: ignore[misc]

    def close(self) -> None:
        """Close all."""
        for name, each in list(self._live.items()):
            self._guarded(name, each.close)
        self._live.clear()

    def _open(self, name: str, entry: OpenLogger, opening: Opening | None) -> None:
        assert opening is not None
        self._live[name] = entry(opening)

    def _guarded(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # a stranger's server: whatever it raises must not end the run
            self._live.pop(name, None)
            self._report(
                f"logger {name} failed and is left out from now on ({type(error).__name__}: "
                f"{error}); metrics.jsonl has everything"
            )
