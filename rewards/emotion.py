"""Rewards of the recorded emotion (`info["emotion"]`, points up to 100) of an EmotionalSupport episode.

Sources: RLVER, arXiv 2507.03112 (terminal); potential-based shaping, Ng et al. 1999; the per-turn
scale of tens of points and `mixed_returns` follow a public fork of RLVER, not the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from turngym.errors import DataError
from turngym.rewards.potential import Potential
from turngym.rewards.reward import TurnValue, reward
from turngym.types import Trajectory

__all__ = ["emotion_change", "emotion_potential", "emotions", "mixed_returns", "terminal_emotion"]


@reward("terminal_emotion")
def terminal_emotion(trajectory: Trajectory) -> float:
    """max(e_T, 0) / 100, RLVER's only reward; in [0, 1]."""
    return max(emotions(trajectory)[-1], 0) / 100


@reward("emotion_change", level="turn")
def emotion_change(trajectory: Trajectory) -> list[float | None]:
    """r_t = (e_t - e_{t-1}) / 10."""
    return [(after - before) / 10 for before, after in pairwise(emotions(trajectory))]


@reward("emotion_potential", level="turn")
def emotion_potential(trajectory: Trajectory) -> tuple[TurnValue, ...]:
    """r_t = Phi_t - Phi_{t-1} with Phi = e / 100; the sum is Phi_T - Phi_0.

    Beside `terminal_emotion` it changes no ordering of episodes with one start, only where in the
    episode the credit lies.
    """
    return _PHI(trajectory)


def mixed_returns(
    rewards: Sequence[float], *, alpha: float = 0.4, gamma: float = 0.97
) -> list[float]:
    """r'_t = (1 - alpha) r_t + alpha G_t with G_t = sum over s >= t of gamma^(s-t) r_s."""
    mixed, later = [], 0.0
    for now in reversed(rewards):
        later = now + gamma * later
        mixed.append((1 - alpha) * now + alpha * later)
    return mixed[::-1]


def emotions(trajectory: Trajectory) -> list[float]:
    """e_0 and the emotion after each turn.

    Raises:
        DataError: the trajectory was not played with an emotion preset.
    """
    found = [trajectory.privileged.hidden_state.get("initial_emotion")]
    found += [turn.info.get("emotion") for turn in trajectory.turns]
    known = [float(emotion) for emotion in found if emotion is not None]
    if len(known) < len(found):
        raise DataError(
            f"emotion {found.index(None)} of {trajectory.episode} is missing: emotion rewards need "
            "episodes of turngym/EmotionalSupport-v0 with preset 'sage', 'rlver' or 'demo'"
        )
    return known


_PHI = Potential(
    name="emotion_potential",
    potentials=lambda trajectory: [emotion / 100 for emotion in emotions(trajectory)],
)
