"""Where an episode of conversational question answering stands."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Due", "Progress"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A search whose verdict is due."""

    useful: bool
    """Whether it found something useful."""
    turn: int
    """Number of the turn that sees what it found."""
    chars: int
    """Length of what is shown of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where an episode stands."""

    task_id: str
    question: int = 0
    """Number of the question being answered."""
    exchange: int = 0
    """User messages served so far; asking back opens one more."""
    asked: tuple[int | None, ...] = (0,)
    """Number of the question that opened each exchange; None: the agent asked back."""
    replies: int = 0
    """To this question."""
    asked_back: bool = False
    queries: tuple[str, ...] = ()
    """Searches for this question."""
    found: tuple[str, ...] = ()
    """Ids of all passages shown, in order."""
    due: Due | None = None
    """The last search, while its verdict is due."""
    dropped: tuple[int, ...] = ()
    """Turns whose passages the agent has rejected and no longer sees."""
    scores: tuple[float, ...] = ()
    """Of the questions that are over."""
    intents: tuple[float, ...] = ()
    """Intent terms of the questions that are over."""
    shown: int = 0
    """Characters shown so far."""
