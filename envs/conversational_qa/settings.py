"""Settings of conversational question answering and its named presets."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from turngym.config import Config, parse
from turngym.errors import ConfigError, closest

__all__ = ["PRESETS", "ConversationalQASettings", "settings_for"]


class ConversationalQASettings(Config):
    """Which questions are asked, how an agent searches, and what counts."""

    data: Path | None = None
    """File or folder of a data set; None is the bundled invented world."""
    format: str | None = None
    """Name of the loader for `data`, such as `mtrag` (`turngym.envs.conversational_qa.loaders`)."""
    corpus: Path | None = None
    """JSON lines with `id` and `contents` to search instead of the data set's own passages."""
    server: str | None = None
    """Address of a Search-R1 search server, such as http://127.0.0.1:8000/retrieve."""
    recording: Path | None = None
    """File that keeps every search and answers it from then on; asks only about new ones."""
    cache: Path | None = None
    """Folder for indexes of corpora; None is ~/.cache/turngym/bm25."""

    num_entities: int = Field(default=300, ge=45)
    """Invented world: people, towns and firms of all splits together."""
    num_conversations: int = Field(default=200, ge=1)
    """Invented world: per split."""
    num_questions: int = Field(default=4, ge=1)
    """Invented world: per conversation."""
    gap: float = Field(default=0.15, ge=0, lt=1)
    """Invented world: probability that a fact is told nowhere."""
    unclear: float = Field(default=0.1, ge=0, le=1)
    """Invented world: probability that a conversation opens with an unclear question."""
    whole: bool = False
    """Invented world: an episode is a whole conversation instead of one question in it."""
    seed: int = 0
    """Invented world: decides names, facts and conversations."""

    protocol: Literal["tags", "tools"] = "tags"
    """How an agent acts: Search-R1 tags in its text, or native tool calls."""
    mixed_initiative: bool = True
    """Whether asking back and saying "cannot answer" are legal; Search-R1 has neither."""
    judge: bool = False
    """Whether every search must be followed by a verdict on what it found (ReSeek)."""
    drop_rejected: bool = False
    """Whether what was rejected leaves the context; needs `judge`."""
    cite: bool = False
    """Whether the agent is told to cite passages by title, which `carr` and `c_grpo` reward."""
    brief: bool = False
    """No instructions, no titles: for tiny policies that were trained on the form."""
    top_k: int = Field(default=3, ge=1)
    """Passages per search."""
    max_turns: int = Field(default=4, ge=1)
    """Replies per question before the last one, in which searching is no longer possible."""
    max_information_chars: int = Field(default=2000, ge=1)
    """Length of what one search shows (Search-R1: 500 tokens)."""
    max_context_chars: int = Field(default=16000, ge=1)
    """Length of all that the environment shows; searches show less when it is nearly used up."""

    answer: Literal["f1", "em", "judged"] = "f1"
    """How an answer is compared with its references: token F1, exact match, or by `grader`."""
    success_at: float = Field(default=1.0, gt=0, le=1)
    """Mean answer score from which an episode counts as solved."""
    intent_weight: float = Field(default=0.0, ge=0)
    """alpha of ChatR1's intent term; needs questions with a rewrite."""
    intent_at: Literal["end", "search"] = "end"
    """Add the term to the outcome, or pay each search its gain as a turn reward."""


PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "num_entities": 1200,
        "num_conversations": 1500,
        "num_questions": 3,
        "brief": True,
        "top_k": 1,
        "max_turns": 4,
        "max_information_chars": 100,
        "answer": "em",
    },
    "search_r1": {"mixed_initiative": False, "answer": "em", "max_turns": 4, "top_k": 3},
    "chatr1": {"mixed_initiative": False, "max_turns": 9, "intent_weight": 1.0},
}
"""Values that `size` puts in place of the defaults. `demo`: terse questions and passages for the tiny
policies; an expert's episode has about 80 tokens of theirs. `search_r1`, `chatr1`: the actions,
budgets and scores of the papers."""


def settings_for(size: str | None, values: dict[str, Any]) -> ConversationalQASettings:
    """The settings of a named size with `values` on top.

    Raises:
        ConfigError: unknown size, unknown setting, value out of range, or `data` without `format`.
    """
    if size is not None and size not in PRESETS:
        raise ConfigError(
            f"unknown size {size!r}.{closest(size, PRESETS)} Known: {', '.join(PRESETS)}."
        )
    base = PRESETS[size] if size is not None else {}
    settings = parse(ConversationalQASettings, {**base, **values}, source="ConversationalQA")
    if (settings.data is None) != (settings.format is None):
        raise ConfigError("`data` and `format` go together: a path and the name of its loader")
    if settings.corpus is not None and settings.server is not None:
        raise ConfigError("`corpus` and `server` both say where to search: give one of them")
    if settings.judge and settings.protocol != "tags":
        raise ConfigError("`judge` needs protocol `tags`: a verdict and an action are one reply")
    if settings.drop_rejected and not settings.judge:
        raise ConfigError("`drop_rejected` needs `judge`: without verdicts nothing is rejected")
    return settings
