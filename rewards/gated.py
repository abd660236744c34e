"""Gated reward accumulation (G-RA, arXiv 2508.10548).

Rewards have priorities. A lower one counts only while every higher one q has reached its threshold:

    R = sum_p r_p * 1[ r_q >= delta_q for every q above p ]

Accounts of the paper differ in `>=` against `>`, so the comparator is explicit.
"""

from dataclasses import dataclass
from typing import Literal

from turngym.rewards.reward import Level, Reward, TurnValue, trajectory_value, turn_values
from turngym.rewards.rubric import Weighted
from turngym.types import Trajectory

__all__ = ["Gate", "Gated", "accumulate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Open where a trajectory-level reward has reached a threshold."""

    reward: Reward
    threshold: float
    comparator: Literal[">=", ">"] = ">="

    def open(self, trajectory: Trajectory) -> bool:
        """Whether lower rewards count in this episode."""
        value = trajectory_value(self.reward, trajectory)
        return value > self.threshold if self.comparator == ">" else value >= self.threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated:
    """`reward` where every gate is open, else 0; of the same level as `reward`."""

    reward: Reward
    gates: tuple[Gate, ...]

    @property
    def name(self) -> str:
        """`gated_` and the name of the reward, so that both can be recorded."""
        return f"gated_{self.reward.name}"

    @property
    def level(self) -> Level:
        """That of the reward behind the gates."""
        return self.reward.level

    def __call__(self, trajectory: Trajectory) -> float | tuple[TurnValue, ...]:
        is_open = all(gate.open(trajectory) for gate in self.gates)
        if self.level == "trajectory":
            return trajectory_value(self.reward, trajectory) if is_open else 0.0
        values = turn_values(self.reward, trajectory)
        # A closed gate needs no verdict: only what has no reward at all stays without one.
        return values if is_open else tuple(None if value is None else 0.0 for value in values)


def accumulate(*levels: Gate, last: Reward) -> tuple[Weighted, ...]:
    """Terms of a rubric: rewards from highest to lowest priority, each gated by all above it.

    Each gated reward is recorded ungated too, with weight 0: a total that rises while the outcome
    falls shows only in the difference.

    Args:
        levels: the rewards that gate others, highest priority first.
        last: the lowest one, which gates nothing.
    """
    terms: list[Weighted] = []
    for place, reward in enumerate([*(gate.reward for gate in levels), last]):
        if place == 0:
            terms.append(Weighted(reward=reward))
        else:
            terms.append(Weighted(reward=Gated(reward=reward, gates=levels[:place])))
            terms.append(Weighted(reward=reward, weight=0.0))
    return tuple(terms)
