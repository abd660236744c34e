"""A model behind an OpenAI-compatible chat endpoint: vLLM, SGLang, OpenAI, and the many that follow.

Sampled token ids come along where the server gives them (vLLM from 0.10.2 on, `return_token_ids`);
then its replies can be trained. What a server does not know is found out from its first refusal.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Mapping
from typing import Any

from turngym.agents.endpoint import Endpoint, Prices, Refused, Retries, Usage, is_overflow
from turngym.agents.render import past_ids
from turngym.agents.transport import Transport
from turngym.agents.wire import Answer, message_to_wire, read_chat, sampling_to_wire, tool_to_wire
from turngym.errors import ConfigError, ContextOverflow
from turngym.types import Completion, Context, Sampling

__all__ = ["HTTPAgent"]


class HTTPAgent:
    """Asks a chat endpoint. May be asked from several event loops at once.

    Args:
        base_url: such as `http://localhost:8000/v1`.
        model: as the server calls it.
        api_key: sent as a bearer token.
        need_ids: refuse replies without token ids and log-probabilities, which training needs.
            False takes what comes: such an agent can always be evaluated.
        logprobs_at_temperature: the server's log-probabilities are those of the distribution it
            sampled from (vLLM with `--logprobs-mode processed_logprobs`). By default they are taken
            to be those at temperature 1, as vLLM's own default is, and are left out at others.
        extra: further fields of every request, such as `{"reasoning_effort": "low"}`.
        prices: for `dollars`.
        transport: `HttpxTransport()` by default; `AiohttpTransport()` for batch rollouts.
        retries: what is tried again, and for how long.

    Example:
        >>> HTTPAgent("http://localhost:8000/v1", "Qwen/Qwen3-4B")
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        need_ids: bool = False,
        logprobs_at_temperature: bool = False,
        extra: Mapping[str, Any] | None = None,
        prices: Prices | None = None,
        transport: Transport | None = None,
        retries: Retries | None = None,
    ) -> None:
        self.model, self._prices, self._extra = model, prices or Prices(), dict(extra or {})
        self._need_ids, self._at_temperature = need_ids, logprobs_at_temperature
        self._endpoint = Endpoint(base_url, api_key=api_key, transport=transport, retries=retries)
        self._refused: set[str] = set()
        """Optional fields that this server does not take."""
        self._answered = False

    @property
    def usage(self) -> Usage:
        """Requests and tokens so far."""
        return self._endpoint.usage

    @property
    def dollars(self) -> float:
        """The cost so far at `prices`."""
        return self.usage.dollars(self._prices)

    async def act(self, context: Context, *, sampling: Sampling, seed: int) -> Completion:
        """The server's reply.

        Raises:
            ContextOverflow: the conversation is too long for the model.
            ConfigError: `need_ids`, and the server gives none.
            InfraFailure, InfraTimeout: no usable answer after all retries.
        """
        began = time.perf_counter()
        answer: Answer | None = None
        while answer is None:
            body = self._body(context, sampling, seed)
            try:
                answer = await self._endpoint.post("/chat/completions", body, read_chat)
            except Refused as refusal:
                if is_overflow(refusal):
                    raise ContextOverflow(f"episode {context.episode}: {refusal}") from refusal
                if not self._drop(refusal, body):
                    raise
        self._answered = True
        return self._completion(context, answer, sampling, time.perf_counter() - began)

    def _body(self, context: Context, sampling: Sampling, seed: int) -> dict[str, Any]:
        limit = "max_completion_tokens" if "max_tokens" in self._refused else "max_tokens"
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [message_to_wire(message) for message in context.messages],
            limit: sampling.max_new_tokens,
            **sampling_to_wire(sampling),
        }
        if context.tools:
            body["tools"] = [tool_to_wire(tool) for tool in context.tools]
        # 31 bits, the smallest range among servers.
        optional = {"seed": seed & 0x7FFFFFFF, "logprobs": True, "return_token_ids": True}
        body |= {name: value for name, value in optional.items() if name not in self._refused}
        return body | self._extra

    def _drop(self, refusal: Refused, body: Mapping[str, Any]) -> bool:
        """Whether there is something optional to leave out after this refusal; it is remembered."""
        if refusal.status not in (400, 422):
            return False
        optional = ("return_token_ids", "logprobs", "seed")
        named = [name for name in optional if name in body and name in refusal.body]
        if "max_tokens" in body and "max_completion_tokens" in refusal.body:
            named = ["max_tokens"]  # OpenAI's newer models ask for the other name
        if not named and not self._answered and "return_token_ids" in body:
            named = ["return_token_ids"]  # a server that does not say what it dislikes
        self._refused.update(named[:1])
        return bool(named)

    def _completion(
        self, context: Context, answer: Answer, sampling: Sampling, seconds: float
    ) -> Completion:
        ids, logprobs = answer.reply_ids, answer.reply_logprobs
        # Greedy replies are described at temperature 1 as well.
        if sampling.temperature not in (0, 1) and not self._at_temperature:
            logprobs = None
        if self._need_ids and not (ids and logprobs and answer.prompt_ids):
            raise ConfigError(_no_ids(answer, sampling))
        if not ids or answer.prompt_ids is None:
            return Completion(
                message=answer.message,
                finish_reason=answer.finish_reason,
                temperature=sampling.temperature,
                seconds=seconds,
            )
        past, prompt = past_ids(context), answer.prompt_ids
        opens = not past or prompt[: len(past)] != past
        return Completion(
            message=answer.message,
            new_prompt_ids=prompt if opens else prompt[len(past) :],
            reply_ids=ids,
            reply_logprobs=logprobs or array("f"),
            opens_segment=opens,
            finish_reason=answer.finish_reason,
            temperature=sampling.temperature,
            seconds=seconds,
        )


def _no_ids(answer: Answer, sampling: Sampling) -> str:
    if not answer.reply_ids or answer.prompt_ids is None:
        return (
            "training needs the token ids that were sampled, and this server gives none (it "
            "ignores or refuses return_token_ids). Serve the model with vLLM 0.10.2 or newer, or "
            "leave need_ids out to evaluate only."
        )
    return (
        f"training needs log-probabilities at the sampling temperature ({sampling.temperature:g}), "
        "and this server gives none, or gives them at temperature 1: sample at 1, or serve with "
        "vLLM's --logprobs-mode processed_logprobs and set logprobs_at_temperature=True"
    )
