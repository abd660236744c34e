"""The EMPA state machine: a deficit on three axes that graded replies pay back.

Sources: EMPA (arXiv 2603.00552), MAPO (arXiv 2603.06194); written from the published equations and
tables of points. Everything that decides an ending is integer arithmetic: with v* = -P_0 / |P_0|,
the conditions are multiplied by |P_0|, so no rounding of v* can flip them.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from turngym.envs.emotional_support.appraisal import Appraisal, Levels, Verdict
from turngym.errors import DataError
from turngym.rewards.emotion_empa import distance, norm

__all__ = ["EMPA", "EMPA_RELEASED", "MAPO", "EmpaRule", "EmpaState", "deficit", "increment"]

Axes = tuple[int, int, int]

PRIORITY = (2, 2, 3, 2, 4, 3, 2, 4, 3)
"""Points per level of C.1 C.2 C.3 A.1 A.2 A.3 P.1 P.2 P.3: standard 2, priority 3, core 4."""
GAIN = {0: 0, 1: 1, 2: 3}
LOSS = ({0: 0, -1: -2, -2: -4}, {0: 0, -1: -2, -2: -5}, {0: 0, -1: -2, -2: -5})


def deficit(levels: Sequence[int]) -> Axes:
    """P_0 = (C, A, P) from the nine indicator levels C.1 to P.3, each 0 to 3.

    Raises:
        ValueError: not nine levels of 0 to 3.
    """
    if len(levels) != 9 or any(level not in (0, 1, 2, 3) for level in levels):
        raise ValueError(f"nine indicator levels of 0 to 3 are needed, got {tuple(levels)}")
    points = [-level * weight for level, weight in zip(levels, PRIORITY, strict=True)]
    return sum(points[:3]), sum(points[3:6]), sum(points[6:])


def increment(levels: Levels) -> Axes:
    """v_t: points of the graded progress and regress on each axis."""
    gains = [GAIN[level] for level in levels.progress]
    losses = [table[level] for table, level in zip(LOSS, levels.regress, strict=True)]
    c, a, p = (gain + loss for gain, loss in zip(gains, losses, strict=True))
    return c, a, p


def _dot(left: Axes, right: Axes) -> int:
    return sum(x * y for x, y in zip(left, right, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class EmpaRule:
    """Constants of the protocol."""

    alpha_percent: int
    """Percentage of |P_0| within which the goal counts as reached."""
    min_replies: int
    """No ending, good or bad, is declared before."""
    max_replies: int
    tolerance: int = 1
    """epsilon of the distance."""

    def begin(self, deficit: tuple[int, int, int] | None = None) -> EmpaState:
        """The state before the first reply.

        Raises:
            DataError: no deficit, or one that is not negative anywhere.
        """
        if deficit is None or max(deficit) > 0 or min(deficit) == 0:
            raise DataError(f"EMPA needs a deficit of three numbers <= 0, not all 0; got {deficit}")
        return EmpaState(rule=self, initial=deficit)


EMPA = EmpaRule(alpha_percent=10, min_replies=12, max_replies=45)
"""As in the 480 published runs."""
EMPA_RELEASED = replace(EMPA, alpha_percent=5)
"""As in the released code."""
MAPO = replace(EMPA_RELEASED, max_replies=15)
"""MAPO's training set-up, in which the minimum of 12 is fixed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmpaState:
    """The path of the deficit so far."""

    rule: EmpaRule
    initial: Axes
    moves: tuple[Levels, ...] = ()

    def advance(self, appraisal: Appraisal) -> EmpaState:
        """The state after a reply that was appraised so."""
        return replace(self, moves=(*self.moves, appraisal.levels))

    @property
    def path(self) -> tuple[Axes, ...]:
        """P_0 to P_t."""
        c, a, p = self.initial
        points = [(c, a, p)]
        for levels in self.moves:
            dc, da, dp = increment(levels)
            c, a, p = c + dc, a + da, p + dp
            points.append((c, a, p))
        return tuple(points)

    @property
    def position(self) -> Axes:
        """P_t."""
        return self.path[-1]

    @property
    def distance(self) -> float:
        """phi(P_t)."""
        return distance(self.position, self.rule.tolerance)

    @property
    def energies(self) -> tuple[int, ...]:
        """|P_0| times Delta E_t, for each reply; integers with the sign of Delta E."""
        return tuple(-_dot(increment(levels), self.initial) for levels in self.moves)

    @property
    def verdict(self) -> Verdict:
        """Success, failure (collapse, or stagnation with regression) or open."""
        if len(self.moves) < self.rule.min_replies:
            return Verdict.OPEN
        if self._succeeded():
            return Verdict.SUCCESS
        return Verdict.FAILURE if self._collapsed() or self._stuck() else Verdict.OPEN

    def _succeeded(self) -> bool:
        size, here, alpha = _dot(self.initial, self.initial), self.position, self.rule.alpha_percent
        near = 100 * 100 * _dot(here, here) <= alpha * alpha * size
        aligned = -100 * _dot(here, self.initial) >= -alpha * size
        return (near or aligned) and sum(self.energies) >= size

    def _collapsed(self) -> bool:
        return len(self.moves) >= 5 and all(energy < 0 for energy in self.energies[-5:])

    def _stuck(self) -> bool:
        if len(self.moves) < 8:
            return False
        stagnant = statistics.stdev(norm(point) for point in self.path[-5:]) < 0.5
        last = self.energies[-8:]
        falling = sum(energy < 0 for energy in last) > 0.7 * len(last)
        return stagnant and falling and sum(last) < -norm(self.initial)

    @property
    def mood(self) -> int:
        """0 to 100: the part of the initial distance that is gone, for choosing words."""
        start = distance(self.initial, self.rule.tolerance)
        return 100 if start == 0 else round(100 * max(0.0, min(1.0, 1 - self.distance / start)))

    @property
    def outcome(self) -> float:
        """1 on success, otherwise the part of the initial distance that is gone."""
        return 1.0 if self.verdict is Verdict.SUCCESS else self.mood / 100

    @property
    def gain(self) -> float:
        """The turn reward of the last reply: MAPO's incremental distance."""
        if not self.moves:
            return 0.0
        return distance(self.path[-2], self.rule.tolerance) - self.distance

    def record(self) -> Mapping[str, Any]:
        """JSON-safe facts of the last reply, kept with its turn."""
        return {
            "position": list(self.position),
            "distance": self.distance,
            "progress": list(self.moves[-1].progress),
            "regress": list(self.moves[-1].regress),
        }
