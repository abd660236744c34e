"""Context -> token ids -> Completion: what agents that feed ids and sample ids have in common."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from turngym.agents.parse import parse_hermes
from turngym.agents.render import Prompt, Renderer, past_ids
from turngym.errors import ContextOverflow
from turngym.types import Completion, Context, FinishReason, Message, Sampling

__all__ = ["Sampled", "TokenChat", "TokenRequest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """What an engine is asked for."""

    ids: array[int]
    """The whole prompt of this segment."""
    max_new_tokens: int
    """As the sampling says, or what the model has room for."""
    prompt: Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """What an engine sampled."""

    ids: array[int]
    """With the token that ended the reply, if one did."""
    logprobs: array[float]
    """At the sampling temperature, or empty where they are not known."""
    finish_reason: FinishReason
    version: int = 0
    """Of the weights."""
    text: str | None = None
    """The reply as the engine spells it, without its end; None: decoded here."""


class TokenChat:
    """Renders conversations to ids and reads sampled ids as messages.

    Args:
        tokenizer: with a chat template.
        limit: most tokens of prompt and reply that the model takes.
        stop_ids: tokens that end a reply, beside those of the chat template.
        parse: reply text to Message.
    """

    def __init__(
        self,
        tokenizer: Any,
        limit: int,
        *,
        stop_ids: frozenset[int] = frozenset(),
        parse: Callable[[str], Message] = parse_hermes,
    ) -> None:
        self.tokenizer, self.limit, self._parse = tokenizer, limit, parse
        self._renderer = Renderer(tokenizer)
        self.stop_ids = self._renderer.stop_ids | stop_ids

    def request(self, context: Context, sampling: Sampling) -> TokenRequest:
        """What to sample from for the next reply.

        Raises:
            ContextOverflow: the prompt leaves no room for a reply.
        """
        prompt = self._renderer.prompt(context)
        ids = prompt.new_ids if prompt.opens_segment else past_ids(context) + prompt.new_ids
        if len(ids) >= self.limit:
            raise ContextOverflow(
                f"the prompt of episode {context.episode} has {len(ids)} tokens, the model takes "
                f"{self.limit}"
            )
        room = min(sampling.max_new_tokens, self.limit - len(ids))
        return TokenRequest(ids=ids, max_new_tokens=room, prompt=prompt)

    def completion(
        self, request: TokenRequest, sampled: Sampled, sampling: Sampling, seconds: float
    ) -> Completion:
        """The reply as the episode keeps it."""
        text = self._decode(sampled.ids) if sampled.text is None else sampled.text
        for stop in sampling.stop:
            text = text.partition(stop)[0]
        return Completion(
            message=self._parse(text),
            new_prompt_ids=request.prompt.new_ids,
            reply_ids=sampled.ids,
            reply_logprobs=sampled.logprobs,
            opens_segment=request.prompt.opens_segment,
            finish_reason=sampled.finish_reason,
            policy_version=sampled.version,
            temperature=sampling.temperature,
            seconds=seconds,
        )

    def _decode(self, ids: array[int]) -> str:
        said = ids[:-1] if ids and ids[-1] in self.stop_ids else ids
        text: str = self.tokenizer.decode(said, skip_special_tokens=False)
        return text
