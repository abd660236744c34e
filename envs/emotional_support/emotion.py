"""The emotion state machine of SAGE and RLVER: one integer, exact.

SAGE (Tencent/digitalhuman, MIT): e <- min(100, e + clip(change, -10, 10)), from 40; over at e >= 100
or e < 10. RLVER (arXiv 2507.03112): from 30, no clipping, over at e >= 100 or e <= 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from turngym.envs.emotional_support.appraisal import Appraisal, Verdict

__all__ = ["DEMO", "RLVER", "RLVER_RELEASED", "SAGE", "Band", "EmotionRule", "EmotionState", "band"]

CEILING = 100


class Band(StrEnum):
    """SAGE's five named states of the emotion."""

    S = "S"
    A = "A"
    B = "B"
    C = "C"
    F = "F"


def band(value: int) -> Band:
    """S from 100, A from 70, B from 40, C from 10, F below."""
    for floor, name in ((100, Band.S), (70, Band.A), (40, Band.B), (10, Band.C)):
        if value >= floor:
            return name
    return Band.F


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionRule:
    """Constants of one published simulator.

    Example:
        >>> SAGE.begin().advance(Appraisal(change=25)).value
        50
    """

    start: int
    clip: int | None
    """Largest change of one reply in either direction; None does not clip."""
    failure_below: int
    """The person gives up at a value below this."""
    max_replies: int

    def begin(self, deficit: tuple[int, int, int] | None = None) -> EmotionState:
        """The state before the first reply; `deficit` matters to EMPA only."""
        return EmotionState(rule=self, value=self.start)


SAGE = EmotionRule(start=40, clip=10, failure_below=10, max_replies=10)
RLVER = EmotionRule(start=30, clip=None, failure_below=1, max_replies=8)
RLVER_RELEASED = replace(RLVER, max_replies=9)
"""The released loop ends at turn_count > 8, which is nine replies."""
DEMO = EmotionRule(start=40, clip=15, failure_below=10, max_replies=5)
"""Ours: short episodes for tiny policies; four good replies of five succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionState:
    """The emotion after some replies."""

    rule: EmotionRule
    value: int
    """Points; at most 100, no floor."""
    last_change: int = 0
    """What the last reply changed, after clipping and capping."""

    def advance(self, appraisal: Appraisal) -> EmotionState:
        """The state after a reply that was appraised so."""
        change, limit = appraisal.change, self.rule.clip
        if limit is not None:
            change = max(-limit, min(limit, change))
        value = min(CEILING, self.value + change)
        return replace(self, value=value, last_change=value - self.value)

    @property
    def verdict(self) -> Verdict:
        """Success at 100, failure below the rule's limit, open between."""
        if self.value >= CEILING:
            return Verdict.SUCCESS
        return Verdict.FAILURE if self.value < self.rule.failure_below else Verdict.OPEN

    @property
    def mood(self) -> int:
        """0 to 100: how the person feels, for choosing words."""
        return max(self.value, 0)

    @property
    def outcome(self) -> float:
        """RLVER's reward: max(e, 0) / 100."""
        return self.mood / CEILING

    @property
    def gain(self) -> float:
        """The turn reward of the last reply: the change of the emotion in tens of points."""
        return self.last_change / 10

    def record(self) -> Mapping[str, Any]:
        """JSON-safe facts of the last reply, kept with its turn."""
        return {
            "emotion": self.value,
            "emotion_change": self.last_change,
            "band": str(band(self.value)),
        }
