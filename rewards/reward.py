"""Rewards: named pure functions of recorded turns.

    @reward("brevity", level="trajectory")
    def brevity(trajectory):
        return 1 / max(len(trajectory.turns), 1)

A turn-level reward gives one number per turn, None where a turn has none. A judge that fails raises
`turngym.errors.JudgeFailure`; it never becomes a 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, overload

from turngym.registry import Registry
from turngym.types import Trajectory

__all__ = ["REWARDS", "TrajectoryReward", "TurnReward", "reward"]

TrajectoryFunction = Callable[[Trajectory], float]
TurnFunction = Callable[[Trajectory], Sequence[float | None]]


@dataclass(frozen=True, slots=True)
class TrajectoryReward:
    """A reward of the whole episode."""

    name: str
    function: TrajectoryFunction

    def __call__(self, trajectory: Trajectory) -> float:
        return float(self.function(trajectory))


@dataclass(frozen=True, slots=True)
class TurnReward:
    """A reward of each turn."""

    name: str
    function: TurnFunction

    def __call__(self, trajectory: Trajectory) -> tuple[float | None, ...]:
        values = tuple(self.function(trajectory))
        if len(values) != len(trajectory.turns):
            raise ValueError(
                f"turn reward {self.name!r} must give one value per turn: "
                f"got {len(values)} for {len(trajectory.turns)} turns"
            )
        return values


REWARDS: Registry[TrajectoryReward | TurnReward] = Registry("reward")


@overload
def reward(
    name: str, level: Literal["trajectory"] = "trajectory"
) -> Callable[[TrajectoryFunction], TrajectoryReward]: ...
@overload
def reward(name: str, level: Literal["turn"]) -> Callable[[TurnFunction], TurnReward]: ...
def reward(name: str, level: Literal["turn", "trajectory"] = "trajectory") -> object:
    """Decorator that makes a function a named, registered reward."""
    if level not in ("turn", "trajectory"):
        raise ValueError(f"level must be 'turn' or 'trajectory', got {level!r}")

    def bind(function: Callable[[Trajectory], object]) -> TrajectoryReward | TurnReward:
        made = (TurnReward if level == "turn" else TrajectoryReward)(name, function)  # type: ignore[arg-type]
        REWARDS.add(name, made)
        return made

    return bind
