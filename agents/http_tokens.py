"""The batch rollout backend: token ids to a vLLM server and token ids back.

The conversation is rendered here, by appending; the server tokenises nothing, and sampled ids are
never tokenised again. Meant for the aiohttp transport, which is its default.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from typing import Any

from turngym.agents.endpoint import Endpoint, Refused, Retries, Usage, is_overflow
from turngym.agents.parse import parse_hermes
from turngym.agents.tokens import Sampled, TokenChat, TokenRequest
from turngym.agents.transport import AiohttpTransport, Transport
from turngym.agents.wire import Answer, read_text, sampling_to_wire
from turngym.errors import ConfigError, ContextOverflow
from turngym.types import Completion, Context, Message, Sampling

__all__ = ["TokenHTTPAgent"]


class TokenHTTPAgent:
    """Samples from a vLLM server by its completions endpoint, with exact ids and log-probabilities.

    Args:
        base_url: such as `http://localhost:8000/v1`.
        model: as the server calls it.
        tokenizer: of that model, with its chat template.
        limit: most tokens of prompt and reply, the server's `--max-model-len`.
        seeded: send each turn's seed; see `VLLMAgent`.
        logprobs_at_temperature: see `HTTPAgent`.
        api_key, transport, retries: see `HTTPAgent`; the transport is aiohttp by default.
        parse: reply text to Message.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        tokenizer: Any,
        *,
        limit: int,
        seeded: bool = False,
        logprobs_at_temperature: bool = False,
        api_key: str | None = None,
        transport: Transport | None = None,
        retries: Retries | None = None,
        parse: Callable[[str], Message] = parse_hermes,
    ) -> None:
        self.model, self._seeded, self._at_temperature = model, seeded, logprobs_at_temperature
        self._chat = TokenChat(tokenizer, limit, parse=parse)
        self._stop_ids = sorted(self._chat.stop_ids)
        self._endpoint = Endpoint(
            base_url, api_key=api_key, transport=transport or AiohttpTransport(), retries=retries
        )

    @property
    def usage(self) -> Usage:
        """Requests and tokens so far."""
        return self._endpoint.usage

    async def act(self, context: Context, *, sampling: Sampling, seed: int) -> Completion:
        """A sampled reply with its ids and log-probabilities.

        Raises:
            ContextOverflow: the prompt leaves no room for a reply.
            ConfigError: the server gives no token ids.
            InfraFailure, InfraTimeout: no usable answer after all retries.
        """
        began = time.perf_counter()
        request = self._chat.request(context, sampling)
        body = self._body(request, sampling, seed)
        try:
            answer = await self._endpoint.post("/completions", body, read_text)
        except Refused as refusal:
            if is_overflow(refusal):
                raise ContextOverflow(f"episode {context.episode}: {refusal}") from refusal
            raise
        sampled = self._sampled(answer, sampling)
        return self._chat.completion(request, sampled, sampling, time.perf_counter() - began)

    def _body(self, request: TokenRequest, sampling: Sampling, seed: int) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": request.ids.tolist(),
            "max_tokens": request.max_new_tokens,
            "logprobs": 0,
            "return_token_ids": True,
            "skip_special_tokens": False,
            "stop_token_ids": self._stop_ids,
        }
        if self._seeded:
            body["seed"] = seed & 0x7FFFFFFF
        return body | sampling_to_wire(sampling)

    def _sampled(self, answer: Answer, sampling: Sampling) -> Sampled:
        if not answer.reply_ids:
            raise ConfigError(
                f"{self._endpoint.base_url} gives no token ids: it must be vLLM 0.10.2 or newer. "
                "HTTPAgent evaluates models behind other servers."
            )
        known = self._at_temperature or sampling.temperature in (0, 1)
        logprobs = answer.reply_logprobs if known else None
        return Sampled(
            ids=answer.reply_ids,
            logprobs=array("f") if logprobs is None else logprobs,
            finish_reason=answer.finish_reason,
            text=answer.message.content,
        )
