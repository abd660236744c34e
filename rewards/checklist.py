"""Checklist: items that fire once, in the turn that completes them (CM2, equation 2).

    r_{s,c} = 1[ deps(c) satisfied before s, c not satisfied before s, c holds in turn s ]

and the turn reward is sum_c weight_c * r_{s,c}. An item that holds before what it depends on is
satisfied does not count; it fires when it holds again later.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Literal

from turngym.errors import ConfigError, JudgeFailure, closest
from turngym.rewards.reward import TurnValue
from turngym.types import Trajectory

__all__ = ["Checklist", "Item"]

Verdict = bool | JudgeFailure


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One yes-or-no question about the episode."""

    name: str
    holds: Callable[[Trajectory], Sequence[Verdict]]
    """Gives one verdict per turn; a JudgeFailure where the judge failed."""
    weight: float = 1.0
    after: tuple[str, ...] = ()
    """Names of the items that must be satisfied in an earlier turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checklist:
    """A turn-level reward made of items.

    A failed verdict on an item that is still open fails the turn; an item that has fired already
    needs no further verdict.
    """

    name: str
    items: tuple[Item, ...]

    @property
    def level(self) -> Literal["turn"]:
        """Of the whole episode, or one value per turn."""
        return "turn"

    def __post_init__(self) -> None:
        names = [item.name for item in self.items]
        if len(set(names)) != len(names):
            raise ConfigError(f"checklist {self.name!r} has an item name twice: {names}")
        for item in self.items:
            for other in item.after:
                if other not in names:
                    raise ConfigError(
                        f"item {item.name!r} of checklist {self.name!r} depends on unknown "
                        f"{other!r}.{closest(other, names)} Known: {', '.join(names)}."
                    )
        try:
            TopologicalSorter({item.name: item.after for item in self.items}).prepare()
        except CycleError as error:
            circle = " -> ".join(error.args[1])
            raise ConfigError(f"checklist {self.name!r} depends on itself: {circle}") from error

    def __call__(self, trajectory: Trajectory) -> tuple[TurnValue, ...]:
        columns = [self._verdicts(item, trajectory) for item in self.items]
        satisfied: set[str] = set()
        values: list[TurnValue] = []
        for turn in range(len(trajectory.turns)):
            ready = [
                (item, column[turn])
                for item, column in zip(self.items, columns, strict=True)
                if item.name not in satisfied and satisfied.issuperset(item.after)
            ]
            failure = next((v for _, v in ready if isinstance(v, JudgeFailure)), None)
            fired = [item for item, verdict in ready if verdict is True]
            values.append(failure or sum((item.weight for item in fired), 0.0))
            satisfied.update(item.name for item in fired)
        return tuple(values)

    def _verdicts(self, item: Item, trajectory: Trajectory) -> tuple[Verdict, ...]:
        verdicts = tuple(
            verdict if isinstance(verdict, JudgeFailure) else bool(verdict)
            for verdict in item.holds(trajectory)
        )
        if len(verdicts) != len(trajectory.turns):
            raise ValueError(
                f"item {item.name!r} must give one verdict per turn: "
                f"got {len(verdicts)} for {len(trajectory.turns)} turns"
            )
        return verdicts
