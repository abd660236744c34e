"""Agents without a model: a function of the conversation, or random choice among replies."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from turngym.types import Completion, Context, Message, Sampling, ToolCall, assistant

__all__ = ["RandomAgent", "ScriptedAgent"]


class ScriptedAgent:
    """Answers with what a function of the Context says; evaluated, never trained (no token ids).

    Example:
        >>> ScriptedAgent(lambda context: "search[red shoes]")
    """

    def __init__(self, script: Callable[[Context], Message | str]) -> None:
        self._script = script

    async def act(self, context: Context, *, sampling: Sampling, seed: int) -> Completion:
        """The script's reply."""
        reply = self._script(context)
        if isinstance(reply, str):
            reply = Message(role="assistant", content=reply)
        return Completion(message=reply, temperature=sampling.temperature)


class RandomAgent:
    """Answers at random, by the turn's seed: the floor of any evaluation.

    Args:
        replies: chooses among these. None: calls a random tool with random arguments of the right
            types, or, where there are no tools, says a random line of the newest message.
    """

    def __init__(self, replies: Sequence[str] | None = None) -> None:
        if replies is not None and not replies:
            raise ValueError("a random agent needs at least one reply to choose from")
        self._replies = None if replies is None else tuple(replies)

    async def act(self, context: Context, *, sampling: Sampling, seed: int) -> Completion:
        """A reply drawn with `seed`."""
        draw = random.Random(seed)
        if self._replies is not None:
            reply = assistant(draw.choice(self._replies))
        elif context.tools:
            reply = _random_call(draw, context)
        else:
            lines = context.new[-1].content.splitlines() if context.new else []
            reply = assistant(draw.choice([line for line in lines if line.strip()] or [""]))
        return Completion(message=reply)


def _random_call(draw: random.Random, context: Context) -> Message:
    tool = draw.choice(context.tools)
    function = tool.get("function", tool)
    parameters = function.get("parameters", {}).get("properties", {})
    words = " ".join(message.content for message in context.messages).split() or [""]
    arguments = {name: _random_value(draw, schema, words) for name, schema in parameters.items()}
    call = ToolCall(id=f"call_{len(context.turns)}", name=function["name"], arguments=arguments)
    return assistant("", [call])


def _random_value(draw: random.Random, schema: Mapping[str, Any], words: Sequence[str]) -> Any:
    if "enum" in schema:
        return draw.choice(schema["enum"])
    match schema.get("type"):
        case "integer":
            return draw.randrange(10)
        case "number":
            return draw.random()
        case "boolean":
            return draw.random() < 0.5
        case "array":
            return [_random_value(draw, schema.get("items", {}), words)]
        case "object":
            inner = schema.get("properties", {})
            return {name: _random_value(draw, each, words) for name, each in inner.items()}
    return draw.choice(words)
