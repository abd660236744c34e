"""The quality score of a trajectory, from its signals alone (arXiv 2604.00356)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from turngym.triage.calls import call_signals
from turngym.triage.signal import Signal
from turngym.triage.talk import talk_signals
from turngym.types import Trajectory

__all__ = ["Grade", "Triage", "quality", "severity", "triage"]

Grade = Literal["severe", "poor", "neutral", "good", "excellent"]

SATISFACTION = (0.0, 0.6, 0.8, 0.95)
GRADES: tuple[tuple[int, Grade], ...] = (
    (75, "excellent"),
    (60, "good"),
    (40, "neutral"),
    (25, "poor"),
    (0, "severe"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Triage:
    """What stood out in a trajectory."""

    signals: tuple[Signal, ...]
    score: int
    """0 to 100; 50 when nothing stood out."""
    grade: Grade


def triage(trajectory: Trajectory) -> Triage:
    """Signals and quality of one trajectory; no model, no network, the same for equal input."""
    signals = (*talk_signals(trajectory), *call_signals(trajectory))
    signals = tuple(sorted(signals, key=lambda signal: signal.turn))
    asked = sum(m.role == "user" for turn in trajectory.turns for m in turn.seen)
    asked += sum(m.role == "user" for m in trajectory.closing)
    score, grade = quality(signals, asked)
    return Triage(signals=signals, score=score, grade=grade)


def quality(signals: Iterable[Signal], user_messages: int) -> tuple[int, Grade]:
    """Score and grade.

    0 and `severe` when the user escalates or quits, or when disengagement or stagnation reaches
    severity 3. Else 50, plus 20 times 0.6, 0.8 or 0.95 for satisfaction of severity 1, 2, 3; less 10
    per severity of disengagement, 15 when more than 0.3 of the user's messages are misaligned, 8
    per severity of stagnation when there are more than two, 8 per failure, 5 per loop, 3 per
    exhaustion; held within 0..100.

    Args:
        signals: of one trajectory.
        user_messages: how many there were.
    """
    found = list(signals)
    kinds = Counter(signal.kind for signal in found)
    count = Counter(signal.category for signal in found)
    disengaged, stuck = severity(count["disengagement"]), severity(count["stagnation"])
    if kinds["escalation"] or kinds["quit"] or disengaged == 3 or stuck == 3:
        return 0, "severe"
    score = 50 + 20 * SATISFACTION[severity(count["satisfaction"])] - 10 * disengaged
    if user_messages and count["misalignment"] / user_messages > 0.3:
        score -= 15
    if count["stagnation"] > 2:
        score -= 8 * stuck
    score -= 8 * count["failure"] + 5 * count["loops"] + 3 * count["exhaustion"]
    held = round(min(max(score, 0), 100))
    return held, next(grade for least, grade in GRADES if held >= least)


def severity(count: int) -> int:
    """0 for none, 1 for one or two, 2 for three or four, 3 from five."""
    return min((count + 1) // 2, 3)
