"""End state and communicated outputs: the reward of tau-bench (arXiv 2406.12045).

1 if the world at the end equals the world after the gold calls, and every output was told; else 0
"""

from __future__ import annotations

from dataclasses import dataclass

from turngym.errors import JudgeFailure
from turngym.rewards.reward import reward
from turngym.rewards.tool_steps import communicated, step_of
from turngym.types import Trajectory

__all__ = ["TaskCheck", "check_task", "end_state", "outputs_told", "task_solved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCheck:
    """Every check of one episode, counted or not."""

    state_equal: bool
    outputs: dict[str, bool]
    """Output -> whether a reply has it."""

    @property
    def reward(self) -> float:
        """1 if the state is right and all outputs were told, else 0."""
        return float(self.state_equal and all(self.outputs.values()))


def check_task(trajectory: Trajectory) -> TaskCheck:
    """The checks, from `state_hash` in the last turn's info against the privileged one.

    Raises:
        JudgeFailure: the record lacks either hash.
    """
    gold = trajectory.privileged.hidden_state.get("state_hash")
    last = trajectory.turns[-1].info.get("state_hash") if trajectory.turns else None
    if gold is None or last is None:
        missing = "gold state" if gold is None else "end state"
        raise JudgeFailure(f"{trajectory.episode} carries no hash of its {missing}")
    replies = [step_of(turn).reply for turn in trajectory.turns]
    outputs = communicated(trajectory.privileged.references, replies)
    return TaskCheck(state_equal=last == gold, outputs=outputs)


@reward("task_solved")
def task_solved(trajectory: Trajectory) -> float:
    """1 if the end state is the gold one and every output was told, else 0."""
    return check_task(trajectory).reward


@reward("end_state")
def end_state(trajectory: Trajectory) -> float:
    """1 if the end state is the gold one, else 0."""
    return float(check_task(trajectory).state_equal)


@reward("outputs_told")
def outputs_told(trajectory: Trajectory) -> float:
    """Share of the outputs that were told; 1 when there are none."""
    told = check_task(trajectory).outputs
    return sum(told.values()) / len(told) if told else 1.0
