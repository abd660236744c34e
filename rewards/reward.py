"""Rewards: named pure functions of recorded turns.

    @reward("brevity")
    def brevity(trajectory):
        return 1 / max(len(trajectory.turns), 1)

A turn-level reward gives one value per turn: a number, None where a turn has none, or a JudgeFailure
where the judge failed on that turn. A judge that fails altogether raises JudgeFailure. Neither ever
becomes a 0.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, overload

from turngym.errors import JudgeFailure
from turngym.registry import Registry
from turngym.types import Agent, Trajectory

__all__ = [
    "JUDGED",
    "REWARDS",
    "Reward",
    "TrajectoryReward",
    "TurnReward",
    "reward",
    "trajectory_value",
    "turn_values",
]

Level = Literal["turn", "trajectory"]
TurnValue = float | None | JudgeFailure
TrajectoryFunction = Callable[[Trajectory], float]
TurnFunction = Callable[[Trajectory], Sequence[TurnValue]]


class Reward(Protocol):
    """A named reward of one level; functions, `Gated`, `Potential` and the others have this form."""

    @property
    def name(self) -> str:
        """Its key in the recorded breakdown."""
        ...

    @property
    def level(self) -> Level:
        """Whether a call gives one value per turn or one number."""
        ...

    def __call__(self, trajectory: Trajectory, /) -> float | tuple[TurnValue, ...]:
        """The value; `turn_values` and `trajectory_value` check it."""
        ...


@dataclass(frozen=True, slots=True)
class TrajectoryReward:
    """A reward of the whole episode."""

    name: str
    function: TrajectoryFunction

    @property
    def level(self) -> Literal["trajectory"]:
        """Of the whole episode, or one value per turn."""
        return "trajectory"

    def __call__(self, trajectory: Trajectory) -> float:
        return float(self.function(trajectory))


@dataclass(frozen=True, slots=True)
class TurnReward:
    """A reward of each turn."""

    name: str
    function: TurnFunction

    @property
    def level(self) -> Literal["turn"]:
        """Of the whole episode, or one value per turn."""
        return "turn"

    def __call__(self, trajectory: Trajectory) -> tuple[TurnValue, ...]:
        values = tuple(self.function(trajectory))
        if len(values) != len(trajectory.turns):
            raise ValueError(
                f"turn reward {self.name!r} must give one value per turn: "
                f"got {len(values)} for {len(trajectory.turns)} turns"
            )
        return values


REWARDS: Registry[Reward] = Registry("reward")
JUDGED: Registry[Callable[[Agent], Reward]] = Registry("reward that asks a judge")
"""Makers of rewards from the agent that judges."""


@overload
def reward(
    name: str, level: Literal["trajectory"] = "trajectory"
) -> Callable[[TrajectoryFunction], TrajectoryReward]: ...
@overload
def reward(name: str, level: Literal["turn"]) -> Callable[[TurnFunction], TurnReward]: ...
def reward(name: str, level: Level = "trajectory") -> object:
    """Decorator that makes a function a named, registered reward."""
    if level not in ("turn", "trajectory"):
        raise ValueError(f"level must be 'turn' or 'trajectory', got {level!r}")

    def bind(function: Callable[[Trajectory], object]) -> TrajectoryReward | TurnReward:
        made = (TurnReward if level == "turn" else TrajectoryReward)(name, function)  # type: ignore[arg-type]
        REWARDS.add(name, made)
        return made

    return bind


def turn_values(reward: Reward, trajectory: Trajectory) -> tuple[TurnValue, ...]:
    """One value per turn of a turn-level reward.

    Raises:
        ValueError: the reward is not turn-level, or a value is not finite.
    """
    values = reward(trajectory)
    if not isinstance(values, tuple):
        raise ValueError(f"{reward.name!r} is a trajectory-level reward, expected a turn-level one")
    for index, value in enumerate(values):
        if isinstance(value, float | int) and not math.isfinite(value):
            raise ValueError(f"turn reward {reward.name!r} gave {value} for turn {index}")
    return values


def trajectory_value(reward: Reward, trajectory: Trajectory) -> float:
    """The number that a trajectory-level reward gives.

    Raises:
        ValueError: the reward is not trajectory-level, or the value is not finite.
    """
    value = reward(trajectory)
    if isinstance(value, tuple):
        raise ValueError(f"{reward.name!r} is a turn-level reward, expected a trajectory-level one")
    if not math.isfinite(value):
        raise ValueError(f"reward {reward.name!r} gave {value} for {trajectory.episode}")
    return value
