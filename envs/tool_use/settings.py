"""Settings of the tool-use environment and its named presets."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from turngym.config import Config, parse
from turngym.errors import ConfigError, closest

__all__ = ["PRESETS", "ToolUseSettings", "settings_for"]


class ToolUseSettings(Config):
    """Which worlds, how they are shown, when a conversation ends."""

    worlds: tuple[Literal["bank", "clinic", "hotel", "library"], ...] = Field(
        default=("bank", "clinic", "hotel", "library"), min_length=1
    )
    """Domains that tasks are drawn from."""
    tasks_per_template: int = Field(default=10, ge=1, le=100_000)
    """Tasks of each kind: six of ten are train, two dev, two test."""
    calls: Literal["json", "python"] = "json"
    """`json`: tool calls as chat models make them. `python`: the reply is `lend(card='M1', book='B2')`."""
    brief: bool = False
    """A policy of a few words, tools listed by name only, and only kinds of task with short episodes."""
    gate: Literal["strict", "open"] = "strict"
    """`strict` (CM2): the user leaves when a request closes with a strict item open. `open`: he goes on."""
    checklist: Literal["paper", "released"] = "paper"
    """Whether the recorded exchange rewards enforce dependencies (`rewards.tool_checklist`)."""
    max_turns: int | None = Field(default=30, ge=1)
    """Turns until an unfinished conversation is truncated; None never does."""


PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "worlds": ("library",),
        "tasks_per_template": 200,
        "calls": "python",
        "brief": True,
        "max_turns": 12,
    },
}
"""Values that `size` puts in place of the defaults. `demo`: for the tiny policies; an episode of the
scripted expert stays within 400 of their tokens."""


def settings_for(size: str | None, values: dict[str, Any]) -> ToolUseSettings:
    """The settings of a named size with `values` on top.

    Raises:
        ConfigError: unknown size, unknown setting, value out of range.
    """
    if size is not None and size not in PRESETS:
        raise ConfigError(
            f"unknown size {size!r}.{closest(size, PRESETS)} Known: {', '.join(PRESETS)}."
        )
    base = PRESETS[size] if size is not None else {}
    return parse(ToolUseSettings, {**base, **values}, source="ToolUse")
