"""A scripted agent that writes the token ids a policy would have sampled: for fine-tuning."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from turngym.agents.render import Renderer
from turngym.types import Completion, Context, Message, Sampling, Trajectory, Turn

__all__ = ["DemonstratingAgent", "with_ids"]


class DemonstratingAgent:
    """Answers as a script says, with ids. Its log-probabilities are 0: nobody sampled."""

    def __init__(self, script: Callable[[Context], Message | str], tokenizer: Any) -> None:
        self._script, self._renderer = script, Renderer(tokenizer)

    async def act(self, context: Context, *, sampling: Sampling, seed: int) -> Completion:
        """The script's reply with prompt and reply ids."""
        reply = self._script(context)
        if isinstance(reply, str):
            reply = Message(role="assistant", content=reply)
        return _spoken(self._renderer, context, reply)


def with_ids(trajectory: Trajectory, tokenizer: Any) -> Trajectory:
    """The same episode with the ids a policy would have sampled, ready for fine-tuning.

    For episodes of people, scripts and endpoints; ids that are there already are made anew.

    Raises:
        ConfigError: the chat template refuses the conversation.
    """
    renderer = Renderer(tokenizer)
    turns: tuple[Turn, ...] = ()
    for turn in trajectory.turns:
        context = Context(
            episode=trajectory.episode, tools=trajectory.tools, turns=turns, new=turn.seen
        )
        completion = _spoken(renderer, context, turn.completion.message)
        turns = (*turns, replace(turn, completion=completion))
    return replace(trajectory, turns=turns)


def _spoken(renderer: Renderer, context: Context, reply: Message) -> Completion:
    prompt, ids = renderer.prompt(context), renderer.reply(reply)
    return Completion(
        message=reply,
        new_prompt_ids=prompt.new_ids,
        reply_ids=ids,
        reply_logprobs=array("f", [0.0]) * len(ids),
        opens_segment=prompt.opens_segment,
    )
