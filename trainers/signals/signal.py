"""Signals: columns that a credit method needs beyond rewards, some made by models of their own.

    @signal("length")
    class Length(Signal[NoSettings]):
        settings = NoSettings

        def columns(self, trajectories, batch, models):
            return Columns(turn={"length": ...})

A signal that learns has `update`, and a state that goes into every checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, TypeVar

from torch import Tensor

from turngym.config import Config
from turngym.registry import Registry
from turngym.trainers.types import Credit, TurnBatch
from turngym.types import Privileged, Trajectory

__all__ = ["SIGNALS", "Columns", "Models", "NoSettings", "Order", "Signal", "signal"]

C = TypeVar("C", bound=Config)
Order = Literal["update_first", "score_first"]


class NoSettings(Config):
    """For signals without settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What a signal says about a batch. Legend: N tokens, K turns, B trajectories."""

    token: Mapping[str, Tensor] = field(default_factory=dict)
    """[N] each."""
    turn: Mapping[str, Tensor] = field(default_factory=dict)
    """[K] each."""
    traj: Mapping[str, Tensor] = field(default_factory=dict)
    """[B] each."""
    replaced: Mapping[str, Tensor] = field(default_factory=dict)
    """Fields of the batch itself that the signal fills in, such as `old_logprobs`."""
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """What signals may look at and start from."""

    policy: Any
    """The model in training; until the step's update these are the weights that acted."""
    tokenizer: Any
    initial: Callable[[], Any]
    """A fresh copy of the policy that the run started from, on the policy's device."""
    max_tokens: int
    """Bound on the tokens of one forward pass."""


class Signal(Generic[C]):
    """Base of signals; a subclass defines `settings` and `columns`."""

    settings: ClassVar[type[Any]]
    """Its Config class."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Signals whose columns must lie in the batch before."""
    learns_from_reader: ClassVar[bool] = False
    """Whether its update needs what only a credit method that reads it gives back: returns."""
    order: Order = "score_first"
    """Whether the step's columns come from the model before or after its update."""

    def __init__(self, config: C, models: Models) -> None:
        self.config = config

    def refusal(self, secrets: Iterable[Privileged]) -> str:
        """Why tasks with these privileged facts cannot feed the signal; "" if they can.

        `secrets` is lazy: each one costs the reset of an environment.
        """
        return ""

    def columns(
        self, trajectories: Sequence[Trajectory], batch: TurnBatch, models: Models
    ) -> Columns:
        """The columns of `batch`, on its device, finite, without gradient."""
        raise NotImplementedError(f"{type(self).__name__} must define columns()")

    def update(
        self,
        trajectories: Sequence[Trajectory],
        batch: TurnBatch,
        credit: Credit | None,
        models: Models,
    ) -> Mapping[str, float]:
        """Learn from a step; gives metrics. `credit` is None with `order = "update_first"`."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold; empty when nothing is learnt."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict()` in place."""


SIGNALS: Registry[type[Signal[Any]]] = Registry("signal")

S = TypeVar("S", bound=type[Signal[Any]])


def signal(name: str) -> Callable[[S], S]:
    """Class decorator that registers a signal under `name`."""

    def bind(kind: S) -> S:
        SIGNALS.add(name, kind)
        return kind

    return bind
