"""Agents without a model: a function of the conversation, or random choice among replies."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from turngym.types import Completion, Context, Message, Sampling

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
    """Answers with one of `replies`, chosen by the turn's seed."""

    def __init__(self, replies: Sequence[str]) -> None:
        if not replies:
            raise ValueError("a random agent needs at least one reply to choose from")
        self._replies = tuple(replies)

    async def act(self, context: Context, *, sampling: Sampling, seed: int) -> Completion:
        """A reply drawn with `seed`."""
        content = random.Random(seed).choice(self._replies)
        return Completion(message=Message(role="assistant", content=content))
