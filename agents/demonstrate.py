"""A scripted agent that writes the token ids a policy would have sampled: for fine-tuning."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

from turngym.agents.render import Renderer
from turngym.types import Completion, Context, Message, Sampling

__all__ = ["DemonstratingAgent"]


class DemonstratingAgent:
    """Answers as a script says, with ids. Its log-probabilities are 0: nobody sampled."""

    def __init__(self, script: Callable[[Context], Message | str], tokenizer: Any) -> None:
        self._script, self._renderer = script, Renderer(tokenizer)

    async def act(self, context: Context, *, sampling: Sampling, seed: int) -> Completion:
        """The script's reply with prompt and reply ids."""
        reply = self._script(context)
        if isinstance(reply, str):
            reply = Message(role="assistant", content=reply)
        prompt = self._renderer.prompt(context)
        ids = self._renderer.reply(reply)
        return Completion(
            message=reply,
            new_prompt_ids=prompt.new_ids,
            reply_ids=ids,
            reply_logprobs=array("f", [0.0]) * len(ids),
            opens_segment=prompt.opens_segment,
        )
