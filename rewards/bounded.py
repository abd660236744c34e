"""Bounded: a reward that cannot leave its range, whatever a judge says."""

from dataclasses import dataclass

from turngym.errors import ConfigError
from turngym.rewards.reward import Level, Reward, TurnValue, trajectory_value, turn_values
from turngym.types import Trajectory

__all__ = ["Bounded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounded:
    """`reward` clipped to [low, high]; of the same name and level.

    An unbounded learned reward invites over-optimisation (arXiv 2502.18770).
    """

    reward: Reward
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ConfigError(f"Bounded needs low < high, got {self.low} and {self.high}")

    @property
    def name(self) -> str:
        """That of the reward inside."""
        return self.reward.name

    @property
    def level(self) -> Level:
        """That of the reward inside."""
        return self.reward.level

    def __call__(self, trajectory: Trajectory) -> float | tuple[TurnValue, ...]:
        if self.level == "trajectory":
            return self._clip(trajectory_value(self.reward, trajectory))
        return tuple(
            self._clip(value) if isinstance(value, float | int) else value
            for value in turn_values(self.reward, trajectory)
        )

    def _clip(self, value: float) -> float:
        return min(max(value, self.low), self.high)
