"""The taxonomy of triage signals (arXiv 2604.00356): 7 categories, 25 kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

__all__ = ["CATEGORY_OF", "TAXONOMY", "Category", "Signal"]

Category = Literal[
    "misalignment",
    "stagnation",
    "disengagement",
    "satisfaction",
    "failure",
    "loops",
    "exhaustion",
]

TAXONOMY: Mapping[Category, tuple[str, ...]] = MappingProxyType(
    {
        "misalignment": ("correction", "rephrase", "clarification"),
        "stagnation": ("dragging", "repetition"),
        "disengagement": ("escalation", "quit", "negative_stance"),
        "satisfaction": ("gratitude", "confirmation", "success"),
        "failure": ("invalid_args", "bad_query", "tool_not_found", "auth_misuse", "state_error"),
        "loops": ("retry", "parameter_drift", "oscillation"),
        "exhaustion": (
            "api_error",
            "timeout",
            "rate_limit",
            "network",
            "malformed_response",
            "context_overflow",
        ),
    }
)
"""Kinds by category. The first four are about the conversation, the next two about execution, the
last about the environment."""

CATEGORY_OF: Mapping[str, Category] = MappingProxyType(
    {kind: category for category, kinds in TAXONOMY.items() for kind in kinds}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One thing that stood out."""

    kind: str
    """A kind of TAXONOMY."""
    turn: int
    """The turn it belongs to, from 0; what the environment says after a turn belongs to that turn."""
    note: str = ""
    """The words that gave it away."""

    @property
    def category(self) -> Category:
        """Of its kind."""
        return CATEGORY_OF[self.kind]
