"""Rewards that are in the record already: the environment's own, and sums of turn rewards."""

from turngym.errors import JudgeFailure
from turngym.rewards.reward import Reward, TrajectoryReward, reward, turn_values
from turngym.types import Trajectory

__all__ = ["outcome", "total", "turn_reward"]


@reward("outcome")
def outcome(trajectory: Trajectory) -> float:
    """The task score that the environment gave."""
    if trajectory.outcome is None:
        raise JudgeFailure(f"{trajectory.episode} has no outcome (status {trajectory.status})")
    return trajectory.outcome


@reward("turn_reward", level="turn")
def turn_reward(trajectory: Trajectory) -> tuple[float | None, ...]:
    """The turn rewards that the environment gave."""
    return tuple(turn.reward for turn in trajectory.turns)


def total(turns: Reward) -> TrajectoryReward:
    """The sum of a turn-level reward over the episode; a failed turn fails the sum."""

    def add(trajectory: Trajectory) -> float:
        values = turn_values(turns, trajectory)
        for value in values:
            if isinstance(value, JudgeFailure):
                raise value
        return sum(value for value in values if isinstance(value, float | int))

    return TrajectoryReward(f"total_{turns.name}", add)
