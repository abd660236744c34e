"""EMPA distances and the MAPO rewards made of them, from the positions an environment recorded.

A position is three numbers (cognitive, affective, proactive), negative while something is missing.
Sources: EMPA, arXiv 2603.00552; MAPO / MICA, arXiv 2603.06194. Written from the equations alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from turngym.errors import DataError
from turngym.rewards.potential import Potential
from turngym.rewards.reward import TurnValue, reward
from turngym.types import Trajectory

__all__ = [
    "Position",
    "distance",
    "empa_distance_diff",
    "empa_goal_distance",
    "empa_increment",
    "empa_potential",
    "norm",
    "positions",
    "potential",
]

Position = tuple[float, float, float]


def norm(position: Sequence[float]) -> float:
    """Euclidean length."""
    return math.hypot(*position)


def distance(position: Sequence[float], tolerance: float = 1.0) -> float:
    """phi(P) = || max(0, -tolerance - P) ||: what is missing; overshoot costs nothing.

    MAPO takes tolerance 1, 2 or 3 for high, medium or low demands on empathy.
    """
    return math.hypot(*(max(0.0, -tolerance - axis) for axis in position))


def potential(position: Sequence[float], scale: float = 9.0) -> float:
    """Phi(P) = scale / (scale + ||P||), in (0, 1]."""
    return scale / (scale + norm(position))


@reward("empa_distance_diff", level="turn")
def empa_distance_diff(trajectory: Trajectory) -> list[float | None]:
    """r_t = phi(P_{t-1}) - phi(P_t), MAPO's incremental distance reward."""
    tolerance = float(trajectory.privileged.hidden_state.get("tolerance", 1.0))
    along = [distance(position, tolerance) for position in positions(trajectory)]
    return [before - after for before, after in pairwise(along)]


@reward("empa_goal_distance", level="turn")
def empa_goal_distance(trajectory: Trajectory) -> list[float | None]:
    """r_t = -phi(P_t), the absolute form; it depends on the turns before."""
    tolerance = float(trajectory.privileged.hidden_state.get("tolerance", 1.0))
    return [-distance(position, tolerance) for position in positions(trajectory)[1:]]


@reward("empa_increment", level="turn")
def empa_increment(trajectory: Trajectory) -> list[float | None]:
    """r_t = sum of the increment v_t over the axes."""
    return [sum(after) - sum(before) for before, after in pairwise(positions(trajectory))]


@reward("empa_potential", level="turn")
def empa_potential(trajectory: Trajectory) -> tuple[TurnValue, ...]:
    """r_t = 0.99 Phi(P_t) - Phi(P_{t-1}), MAPO's potential-based alternative."""
    return _PHI(trajectory)


def positions(trajectory: Trajectory) -> list[Position]:
    """P_0 and the position after each turn.

    Raises:
        DataError: the trajectory was not played with an EMPA preset.
    """
    found = [trajectory.privileged.hidden_state.get("initial_position")]
    found += [turn.info.get("position") for turn in trajectory.turns]
    result: list[Position] = []
    for index, position in enumerate(found):
        if position is None:
            raise DataError(
                f"position {index} of {trajectory.episode} is missing: EMPA rewards need episodes "
                "of turngym/EmotionalSupport-v0 with preset='empa'"
            )
        c, a, p = (float(axis) for axis in position)
        result.append((c, a, p))
    return result


_PHI = Potential(
    name="empa_potential",
    potentials=lambda trajectory: [potential(position) for position in positions(trajectory)],
    gamma=0.99,
)
