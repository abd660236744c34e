"""The signals of one run, made in order, checked against the environment, saved together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from turngym.config import parse
from turngym.errors import ConfigError
from turngym.trainers.signals.signal import SIGNALS, Columns, Models, Signal
from turngym.trainers.types import Credit, TurnBatch
from turngym.types import Privileged, Trajectory

__all__ = ["Suite", "skipped_signals"]


class Suite:
    """Every signal that a run needs, those that others require first.

    Args:
        needed: names of signals.
        settings: by name; a signal that is named here is made, too.
        models: what the signals look at and start from.

    Raises:
        UnknownNameError: no such signal.
        ConfigError: settings that a signal does not know or that are out of range.
    """

    def __init__(
        self, needed: Iterable[str], settings: Mapping[str, Mapping[str, Any]], models: Models
    ) -> None:
        self.models = models
        self.signals: dict[str, Signal[Any]] = {}
        for name in [*needed, *settings]:
            self._add(name, settings)

    def _add(self, name: str, settings: Mapping[str, Mapping[str, Any]]) -> None:
        if name in self.signals:
            return
        kind = SIGNALS[name]
        for other in kind.requires:
            self._add(other, settings)
        config = parse(kind.settings, settings.get(name, {}), source=f"signal {name!r}")
        self.signals[name] = kind(config, self.models)

    def check(self, env_id: str, secrets: Iterable[Privileged], reader: str) -> None:
        """Refuse an environment that cannot feed a signal.

        Args:
            env_id: for the message.
            secrets: privileged facts of some tasks; read only as far as signals ask.
            reader: who needs the signals, for the message.

        Raises:
            ConfigError: names reader, signal, environment and the reason.
        """
        for name, each in self.signals.items():
            reason = each.refusal(secrets)
            if reason:
                raise ConfigError(
                    f"{reader} needs the signal {name!r}, which {env_id} cannot feed: {reason}"
                )

    def measure(
        self, trajectories: Sequence[Trajectory], batch: TurnBatch
    ) -> tuple[TurnBatch, dict[str, float]]:
        """The batch with all columns, and metrics named `signal/NAME/METRIC`."""
        metrics: dict[str, float] = {}
        for name, each in self.signals.items():
            found: dict[str, float] = {}
            if each.order == "update_first":
                found |= each.update(trajectories, batch, None, self.models)
            columns = each.columns(trajectories, batch, self.models)
            batch = _with(batch, columns)
            found |= columns.metrics
            metrics |= {f"signal/{name}/{key}": value for key, value in found.items()}
        return batch, metrics

    def learn(
        self, trajectories: Sequence[Trajectory], batch: TurnBatch, credit: Credit
    ) -> dict[str, float]:
        """Update the signals that score first; gives metrics named `signal/NAME/METRIC`."""
        return {
            f"signal/{name}/{key}": value
            for name, each in self.signals.items()
            if each.order == "score_first"
            for key, value in each.update(trajectories, batch, credit, self.models).items()
        }

    def state_dict(self) -> dict[str, Any]:
        """By signal; signals without state are left out."""
        states = {name: each.state_dict() for name, each in self.signals.items()}
        return {name: state for name, state in states.items() if state}

    def load_state_dict(self, states: Mapping[str, Any]) -> None:
        """Restore `state_dict()` in place."""
        for name, state in states.items():
            self.signals[name].load_state_dict(state)


def skipped_signals(metrics: Mapping[str, float]) -> tuple[str, ...]:
    """Signals that left out an update of their model, as the metrics of the step tell."""
    parts = [name.split("/") for name, value in metrics.items() if value]
    return tuple(p[1] for p in parts if p[0] == "signal" and p[-1] == "skipped")


def _with(batch: TurnBatch, columns: Columns) -> TurnBatch:
    fields: dict[str, Any] = dict(columns.replaced)
    return replace(batch, **fields).with_columns(
        token=columns.token, turn=columns.turn, traj=columns.traj
    )
