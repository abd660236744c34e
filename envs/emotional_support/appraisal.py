"""What a simulated user makes of one reply: the currency between appraisers and state machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Appraisal", "Levels", "Verdict"]


class Verdict(StrEnum):
    """Where a state machine stands."""

    OPEN = "open"
    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Graded movement on the three EMPA axes: cognitive, affective, proactive.

    Raises:
        ValueError: a progress outside 0..2 or a regress outside -2..0.
    """

    progress: tuple[int, int, int] = (0, 0, 0)
    """0, 1 or 2 per axis."""
    regress: tuple[int, int, int] = (0, 0, 0)
    """0, -1 or -2 per axis."""

    def __post_init__(self) -> None:
        if len(self.progress) != 3 or any(level not in (0, 1, 2) for level in self.progress):
            raise ValueError(f"progress levels are three of 0, 1, 2, got {self.progress}")
        if len(self.regress) != 3 or any(level not in (0, -1, -2) for level in self.regress):
            raise ValueError(f"regress levels are three of 0, -1, -2, got {self.regress}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraisal:
    """How one reply felt to the simulated user."""

    change: int
    """Change of the emotion in points, before any clipping by the state machine."""
    levels: Levels = field(default_factory=Levels)
    """The same judgement on the EMPA axes."""
    reason: str = ""
    """For reading and for the simulated user's own next words; never shown to the policy."""
    features: Mapping[str, bool] = field(default_factory=dict)
    """What the rule-based appraiser saw; empty for other appraisers."""
