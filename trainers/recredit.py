"""Stored trajectories, credited anew by every method that needs nothing but what was recorded.

Legend: K turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from turngym.trainers.batch import collate
from turngym.trainers.credit import CREDITS
from turngym.trainers.types import Credit
from turngym.types import Trajectory

__all__ = ["Recredited", "recredit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recredited:
    """Credit of one batch by several methods."""

    credits: Mapping[str, Credit]
    """By method; each has a turn column [K], turns of all trajectories in order."""
    missing: Mapping[str, tuple[str, ...]]
    """Methods that were left out, with the signals they need a model for."""


def recredit(
    trajectories: Sequence[Trajectory], own: str = "", settings: Mapping[str, Any] | None = None
) -> Recredited:
    """Credit of every turn by each method, at default settings but for one.

    Args:
        trajectories: whole groups, as they were trained on.
        own: the method that `settings` are for; empty for none.
        settings: of that method.

    Raises:
        DataError: turns without sampled ids, as a black-box endpoint leaves them.
        ConfigError: a setting that the method does not take.
    """
    batch = collate(trajectories)
    credits, missing = {}, {}
    for name in CREDITS:
        method = CREDITS[name]
        config = method.parse(settings or {} if name == own else {})
        needs = method.needs(config)
        if needs:
            missing[name] = tuple(dict.fromkeys(need.signal for need in needs))
        else:
            credits[name] = method(batch, config)
    return Recredited(credits=credits, missing=missing)
