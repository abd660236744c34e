"""EPM-Q, the quality index of EMPA (arXiv 2603.00552), from recorded positions and graded levels.

    EPM-Q = 0.4 mean(RDI, E_tot, S_net) + 0.2 mean(rho, S_proj, tau) + 0.4 mean(R_pos, Align, Pen)

The sources leave three readings open; ours: tortuosity is path length over net displacement; a turn
without movement has cosine 0; penalties count graded levels of regress.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from turngym.errors import DataError
from turngym.rewards.emotion_empa import Position, distance, norm, positions
from turngym.rewards.reward import reward
from turngym.types import Trajectory

__all__ = ["EpmIndex", "epm_index", "epm_q"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpmIndex:
    """The nine parts on a scale where 100 is full marks; efforts beyond the goal exceed it."""

    distance_improvement: float
    total_energy: float
    net_levels: float
    density: float
    projection: float
    straightness: float
    positive_share: float
    alignment: float
    freedom_from_penalties: float

    @property
    def outcome(self) -> float:
        """How far it came."""
        return fmean((self.distance_improvement, self.total_energy, self.net_levels))

    @property
    def efficiency(self) -> float:
        """How directly."""
        return fmean((self.density, self.projection, self.straightness))

    @property
    def stability(self) -> float:
        """How steadily."""
        return fmean((self.positive_share, self.alignment, self.freedom_from_penalties))

    @property
    def total(self) -> float:
        """EPM-Q."""
        return 0.4 * self.outcome + 0.2 * self.efficiency + 0.4 * self.stability


@reward("epm_q")
def epm_q(trajectory: Trajectory) -> float:
    """EPM-Q of an episode with an EMPA preset."""
    progress = [turn.info["progress"] for turn in trajectory.turns]
    regress = [turn.info["regress"] for turn in trajectory.turns]
    tolerance = float(trajectory.privileged.hidden_state.get("tolerance", 1.0))
    return epm_index(positions(trajectory), progress, regress, tolerance=tolerance).total


def epm_index(
    path: Sequence[Position],
    progress: Sequence[Sequence[int]],
    regress: Sequence[Sequence[int]],
    *,
    tolerance: float = 1.0,
) -> EpmIndex:
    """The nine parts.

    Args:
        path: P_0 to P_T, T >= 1.
        progress: graded levels 0..2 per turn and axis.
        regress: graded levels -2..0 per turn and axis.
        tolerance: of the distance.

    Raises:
        DataError: no turn, or an initial distance of 0.
    """
    start, end, turns = path[0], path[-1], len(path) - 1
    r0 = distance(start, tolerance)
    if turns < 1 or r0 == 0:
        raise DataError(f"EPM-Q needs a turn and an initial distance: {turns} turns, distance {r0}")
    moves = [tuple(y - x for x, y in zip(a, b, strict=True)) for a, b in pairwise(path)]
    energies = [
        -sum(v * p for v, p in zip(move, start, strict=True)) / norm(start) for move in moves
    ]
    lengths = [norm(move) for move in moves]
    cosines = [e / size if size else 0.0 for e, size in zip(energies, lengths, strict=True)]
    displacement = norm(tuple(y - x for x, y in zip(start, end, strict=True)))
    tortuosity = sum(lengths) / displacement if displacement else math.inf
    levels = sum(map(sum, progress)) + sum(map(sum, regress))
    improvement = 100 * (r0 - distance(end, tolerance)) / r0
    return EpmIndex(
        distance_improvement=min(100.0, max(0.0, (improvement + 100) / 2)),
        total_energy=100 * max(0.0, sum(energies)) / (1.2 * r0),
        net_levels=100 * max(0, levels) / (1.5 * r0),
        density=100 * max(0.0, sum(energies) / turns) / 2.5,
        projection=100 * max(0.0, fmean(energies)) / 2.5,
        straightness=max(0.0, (3 - tortuosity) / 2 * 100),
        positive_share=100 * fmean(energy > 0 for energy in energies),
        alignment=(fmean(cosines) + 1) / 2 * 100,
        freedom_from_penalties=max(0.0, (3 + sum(map(sum, regress)) / turns) / 3 * 100),
    )
