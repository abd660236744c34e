"""A Hugging Face model as an agent: our own batched sampling loop.

Requests of concurrent episodes are sampled together. Noise is keyed by (seed, position), so a
reply's randomness does not depend on who shares its batch. Keys and values stay between the turns
of an episode as long as its prompt only grows.

Deterministic: a batch leaves when every live episode is waiting (a barrier per turn) and is formed
in episode order, so that the same run gives the same bits. Otherwise whatever waits leaves at once.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from turngym.agents.generate import Draft, generate
from turngym.agents.kv_cache import Past
from turngym.agents.parse import parse_hermes
from turngym.agents.render import Renderer, past_ids
from turngym.errors import ContextOverflow
from turngym.types import Completion, Context, Message, Sampling

__all__ = ["HFAgent"]


@dataclass(slots=True)
class _Request:
    draft: Draft
    context: Context
    opens_segment: bool
    new_ids: array[int]
    answer: asyncio.Future[Completion]


class HFAgent:
    """Samples from a causal language model.

    Args:
        model: a transformers causal language model.
        tokenizer: with a chat template.
        deterministic: wait for every live episode before a batch leaves; see the module.
        max_batch: rows of one batch.
        parse: reply text to Message.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        deterministic: bool = True,
        max_batch: int = 256,
        parse: Callable[[str], Message] = parse_hermes,
    ) -> None:
        self.model, self.tokenizer, self.deterministic = model, tokenizer, deterministic
        self.max_batch, self._parse = max_batch, parse
        self.version = 0
        self._renderer = Renderer(tokenizer)
        self._pasts: dict[str, Past] = {}
        self._live: set[str] = set()
        self._waiting: list[_Request] = []
        self._busy = False
        # One thread: a model is one resource, and the event loop stays free meanwhile.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sampler")

    def load(self, model: Any, version: int) -> None:
        """Sample from `model` from now on; what was remembered of the old weights is dropped."""
        self.model, self.version = model, version
        self._pasts.clear()

    def begin(self, episode: str) -> None:
        """`episode` will ask for replies until it is released."""
        self._live.add(episode)

    def release(self, episode: str) -> None:
        """`episode` is over: forget it and stop waiting for it."""
        self._live.discard(episode)
        self._pasts.pop(episode, None)
        self._wake()

    async def act(self, context: Context, *, sampling: Sampling, seed: int) -> Completion:
        """A sampled reply with its ids and log-probabilities.

        Raises:
            ContextOverflow: the prompt leaves no room for a reply.
        """
        began = time.perf_counter()
        request = self._request(context, sampling, seed)
        self._waiting.append(request)
        self._wake()
        try:
            completion = await request.answer
        finally:
            if request in self._waiting:  # cancelled while it waited
                self._waiting.remove(request)
        return replace(completion, seconds=time.perf_counter() - began)

    def _request(self, context: Context, sampling: Sampling, seed: int) -> _Request:
        prompt = self._renderer.prompt(context)
        before = array("i") if prompt.opens_segment else past_ids(context)
        ids = before + prompt.new_ids
        room = int(self.model.config.max_position_embeddings) - len(ids)
        if room < 1:
            raise ContextOverflow(
                f"the prompt of episode {context.episode} has {len(ids)} tokens, the model takes "
                f"{self.model.config.max_position_embeddings}"
            )
        past = None if prompt.opens_segment else self._pasts.get(context.episode)
        draft = Draft(
            ids=ids,
            past=past,
            sampling=sampling,
            seed=seed,
            max_new_tokens=min(sampling.max_new_tokens, room),
        )
        answer = asyncio.get_running_loop().create_future()
        return _Request(draft, context, prompt.opens_segment, prompt.new_ids, answer)

    def _wake(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        # Later in this turn of the loop, so that everyone who is ready has asked.
        loop.call_soon(self._leave)

    def _leave(self) -> None:
        if self._busy or not self._waiting:
            return
        if self.deterministic:
            asking = {request.context.episode for request in self._waiting}
            if not self._live <= asking:
                return
        self._waiting.sort(key=lambda request: request.context.episode)
        batch, self._waiting = self._waiting[: self.max_batch], self._waiting[self.max_batch :]
        self._busy = True
        work = asyncio.get_running_loop().run_in_executor(self._thread, self._generate, batch)
        work.add_done_callback(lambda done: self._deliver(batch, done))

    def _generate(self, batch: Sequence[_Request]) -> list[Draft]:
        stop_ids = {int(self.tokenizer.eos_token_id)}
        return generate(self.model, self.tokenizer, [request.draft for request in batch], stop_ids)

    def _deliver(self, batch: Sequence[_Request], done: asyncio.Future[list[Draft]]) -> None:
        self._busy = False
        error = done.exception()
        for request in batch:
            if request.answer.done():  # its episode gave up meanwhile
                continue
            if error is not None:
                request.answer.set_exception(error)
            else:
                request.answer.set_result(self._completion(request))
        self._leave()

    def _completion(self, request: _Request) -> Completion:
        draft = request.draft
        if draft.past is not None and request.context.episode in self._live:
            self._pasts[request.context.episode] = draft.past
        text = self.tokenizer.decode(draft.said, skip_special_tokens=False)
        text = text.removesuffix(self.tokenizer.eos_token)
        return Completion(
            message=self._parse(text),
            new_prompt_ids=request.new_ids,
            reply_ids=draft.said,
            reply_logprobs=draft.logprobs,
            opens_segment=request.opens_segment,
            finish_reason=draft.finish_reason,
            policy_version=self.version,
            temperature=draft.sampling.temperature,
        )
