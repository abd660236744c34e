"""Asking a model for something in a form that a program can read: judges, simulated tools and users."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from turngym.bridge import call
from turngym.errors import NotTheAgentsFault
from turngym.seeding import derive
from turngym.types import Agent, Context, Message, Sampling

__all__ = ["UnreadableError", "ask", "json_object"]

T = TypeVar("T")
_RETRY_TEMPERATURE = 0.7


class UnreadableError(Exception):
    """No reply could be read; says how often it was tried and what came last."""


def ask(
    agent: Agent,
    messages: Sequence[Message],
    read: Callable[[Message], T | None],
    *,
    attempts: int,
    timeout_s: float | None,
    sampling: Sampling,
    tools: Sequence[Mapping[str, Any]] = (),
    seed: int = 0,
) -> T:
    """What `read` makes of a reply, asked for again while it makes None of it.

    Args:
        agent: who is asked.
        messages: the question.
        read: gives None for a reply that cannot be used.
        attempts: replies at most; those after the first are drawn at 0.7 or warmer.
        timeout_s: seconds for a reply.
        sampling: of the first reply.
        tools: offered with the question.
        seed: keys the noise, together with the question.

    Raises:
        UnreadableError: no reply could be read, or none came; never what the agent's server raised.
    """
    key = derive(seed, *(message.content for message in messages))
    context = Context(episode=f"ask/{key}", tools=tuple(tools), new=tuple(messages))
    last = ""
    for attempt in range(attempts):
        warm = max(sampling.temperature, _RETRY_TEMPERATURE) if attempt else sampling.temperature
        try:
            message = call(
                agent,
                context,
                sampling=replace(sampling, temperature=warm),
                seed=derive(key, attempt),
                timeout_s=timeout_s,
            ).message
        except NotTheAgentsFault as error:
            last = str(error)
            continue
        found = read(message)
        if found is not None:
            return found
        last = message.content
    raise UnreadableError(f"in {attempts} attempts; the last: {last!r:.200}")


def json_object(text: str) -> dict[str, Any] | None:
    """The one JSON object in a text, words around it aside; None where there is none."""
    try:
        data = json.loads(text[text.find("{") : text.rfind("}") + 1])
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None
