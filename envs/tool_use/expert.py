"""Scripted experts: what those of the bundled worlds share. They see what an agent sees and are always right.

A script is a generator: it yields a call or words and is sent the answer. `next_action` runs it
through the conversation so far, which makes the expert a pure function of the messages.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from turngym.types import Message, ToolCall

__all__ = ["Action", "Desk", "Script", "StuckError", "agreed", "next_action", "use"]

Action = ToolCall | str
Script = Generator[Action, str, Any]
_SORRY = "Sorry, I cannot do that."


class StuckError(Exception):
    """The script does not know what to do."""


@dataclass(slots=True, kw_only=True)
class Desk:
    """What the script has learnt so far, and its slips."""

    rng: random.Random
    noise: float
    known: dict[str, Any] = field(default_factory=dict)

    def slips(self) -> bool:
        """Whether to make a mistake at this choice."""
        return self.rng.random() < self.noise


def next_action(
    serve: Callable[[str, Desk], Script],
    messages: Sequence[Message],
    *,
    noise: float = 0.0,
    seed: int = 0,
) -> Action:
    """The next call or words after `messages`, the whole conversation so far.

    Args:
        serve: what the world's expert does with one request; returns the closing words.
        messages: from the first message of an episode.
        noise: probability of a mistake at each choice.
        seed: keys the mistakes.
    """
    heard = _observations(messages)
    desk = Desk(rng=random.Random(seed), noise=noise)
    script = _serve(serve, heard[0], desk)
    action = next(script)
    for text in heard[1:]:
        action = script.send(text)
    return action


def _observations(messages: Sequence[Message]) -> list[str]:
    """What came before the first reply, and after each: a tool's result or the user's words."""
    heard: list[str] = []
    new: list[Message] = []
    for message in messages:
        if message.role == "assistant":
            heard.append(new[-1].content if new else "")
            new = []
        else:
            new.append(message)
    return [*heard, new[-1].content if new else ""]


def _serve(
    request: Callable[[str, Desk], Script], text: str, desk: Desk
) -> Generator[Action, str, None]:
    """Serve one request after the other, for ever."""
    while True:
        try:
            reply = yield from request(text, desk)
        except (StuckError, KeyError):
            reply = _SORRY
        text = yield reply


def use(name: str, /, **arguments: Any) -> Generator[Action, str, Any]:
    """Call a tool and read its result."""
    text = yield ToolCall(id="call_0", name=name, arguments=arguments)
    try:
        result = json.loads(text)
    except ValueError as error:
        raise StuckError from error
    if isinstance(result, dict) and "error_tool_call" in result:
        raise StuckError
    return result


def agreed(question: str, desk: Desk) -> Generator[Action, str, str]:
    """The user's answer to a question before something is written."""
    if desk.slips():
        return "yes"
    return (yield question)
