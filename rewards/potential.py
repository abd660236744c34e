"""Potential-based shaping: turn rewards that are differences of a potential (Ng et al., 1999)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from turngym.errors import JudgeFailure
from turngym.rewards.reward import TurnValue
from turngym.types import Trajectory

__all__ = ["Potential"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Potential:
    """r_t = gamma * Phi_{t+1} - Phi_t for turn t = 0..K-1.

    With gamma = 1 the rewards of an episode add up to Phi_K - Phi_0, however long it is; in general
    sum_t gamma^t r_t = gamma^K Phi_K - Phi_0, which leaves the optimal policy unchanged. A state
    whose potential is a JudgeFailure fails the turns on both sides of it.
    """

    name: str
    potentials: Callable[[Trajectory], Sequence[float | JudgeFailure]]
    """Gives K+1 values for K turns: before the first turn, then after each."""
    gamma: float = 1.0

    @property
    def level(self) -> Literal["turn"]:
        """Of the whole episode, or one value per turn."""
        return "turn"

    def __call__(self, trajectory: Trajectory) -> tuple[TurnValue, ...]:
        values = tuple(self.potentials(trajectory))
        if len(values) != len(trajectory.turns) + 1:
            raise ValueError(
                f"potential {self.name!r} must give one value before the first turn and one after "
                f"each: got {len(values)} for {len(trajectory.turns)} turns"
            )
        return tuple(
            self._difference(before, after)
            for before, after in zip(values, values[1:], strict=False)
        )

    def _difference(
        self, before: float | JudgeFailure, after: float | JudgeFailure
    ) -> float | JudgeFailure:
        if isinstance(before, JudgeFailure):
            return before
        return after if isinstance(after, JudgeFailure) else self.gamma * after - before
