"""A Hugging Face model as an agent: our own batched sampling loop.

Requests of concurrent episodes are sampled together. Noise is keyed by (seed, position), so a
reply's randomness does not depend on who shares its batch. Keys and values stay between the turns
of an episode as long as its prompt only grows.

Deterministic: requests leave when every live episode is waiting (a barrier per turn), in batches
formed in episode order, so that the same run gives the same bits. An episode is live from `begin`
to `release`; one that was never announced waits for the live ones and for nobody else. Otherwise
whatever waits when the model is free leaves at once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from turngym.agents.generate import Draft, generate
from turngym.agents.kv_cache import Past
from turngym.agents.parse import parse_hermes
from turngym.agents.tokens import Sampled, TokenChat, TokenRequest
from turngym.types import Completion, Context, Message, Sampling

__all__ = ["HFAgent"]


@dataclass(slots=True, eq=False)
class _Request:
    draft: Draft
    episode: str
    done: Future[None]


class HFAgent:
    """Samples from a causal language model. May be asked from several event loops at once.

    Args:
        model: a transformers causal language model.
        tokenizer: with a chat template.
        deterministic: wait for every live episode before a batch leaves; see the module.
        max_batch: rows of one batch.
        parse: reply text to Message.
        max_cache_bytes: memory for keys and values between turns; beyond it the episodes that have
            waited longest lose theirs and are computed anew when they come back.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        deterministic: bool = True,
        max_batch: int = 256,
        parse: Callable[[str], Message] = parse_hermes,
        max_cache_bytes: int = 8 * 2**30,
    ) -> None:
        self.model, self.tokenizer, self.deterministic = model, tokenizer, deterministic
        self.max_batch, self._max_cache_bytes = max_batch, max_cache_bytes
        self.version = 0
        limit = int(model.config.max_position_embeddings)
        self._chat = TokenChat(tokenizer, limit, stop_ids=_end_ids(model), parse=parse)
        self._pasts: dict[str, Past] = {}
        """By episode, the one that answered last at the end."""
        self._live: set[str] = set()
        self._waiting: list[_Request] = []
        self._lock = threading.Lock()
        # One thread: a model is one resource, and the event loops stay free meanwhile.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sampler")

    def load(self, model: Any, version: int) -> None:
        """Sample from `model` from now on; what was remembered of the old weights is dropped."""

        def change() -> None:
            self.model, self.version = model, version
            self._pasts.clear()

        self._thread.submit(change).result()

    def begin(self, episode: str) -> None:
        """`episode` will ask for replies until it is released."""
        with self._lock:
            self._live.add(episode)

    def release(self, episode: str) -> None:
        """`episode` is over: forget it and stop waiting for it."""
        with self._lock:
            self._live.discard(episode)
            self._pasts.pop(episode, None)
        self._thread.submit(self._sample_waiting)

    async def act(self, context: Context, *, sampling: Sampling, seed: int) -> Completion:
        """A sampled reply with its ids and log-probabilities.

        Raises:
            ContextOverflow: the prompt leaves no room for a reply.
        """
        began = time.perf_counter()
        asked = self._chat.request(context, sampling)
        request = _Request(self._draft(context, asked, sampling, seed), context.episode, Future())
        with self._lock:
            self._waiting.append(request)
        await asyncio.sleep(0)  # everyone who is ready in this loop gets to ask
        self._thread.submit(self._sample_waiting)
        try:
            await asyncio.wrap_future(request.done)
        finally:
            with self._lock:
                if request in self._waiting:  # cancelled while it waited
                    self._waiting.remove(request)
        draft = request.draft
        sampled = Sampled(
            ids=draft.said,
            logprobs=draft.logprobs,
            finish_reason=draft.finish_reason,
            version=self.version,
        )
        return self._chat.completion(asked, sampled, sampling, time.perf_counter() - began)

    def _draft(self, context: Context, request: TokenRequest, draw: Sampling, seed: int) -> Draft:
        return Draft(
            ids=request.ids,
            past=None if request.prompt.opens_segment else self._pasts.get(context.episode),
            sampling=draw,
            seed=seed,
            max_new_tokens=request.max_new_tokens,
        )

    def _sample_waiting(self) -> None:
        """In the sampler's thread: everything that may leave, in batches of at most `max_batch`."""
        with self._lock:
            asking = {request.episode for request in self._waiting}
            if self.deterministic and not self._live <= asking:
                return
            leaving, self._waiting = self._waiting, []
        leaving.sort(key=lambda request: request.episode)
        for start in range(0, len(leaving), self.max_batch):
            batch = leaving[start : start + self.max_batch]
            try:
                drafts = [request.draft for request in batch]
                generate(self.model, self.tokenizer, drafts, self._chat.stop_ids)
                self._remember(batch)
            except BaseException as error:  # the boundary: whoever waits must hear of it
                self._settle(batch, error)
            else:
                self._settle(batch, None)

    def _remember(self, batch: Sequence[_Request]) -> None:
        with self._lock:
            for request in batch:
                self._pasts.pop(request.episode, None)
                if request.draft.past is not None and request.episode in self._live:
                    self._pasts[request.episode] = request.draft.past
                request.draft.past = None
            # Rows share the tensors of their batch: memory is free when its last row is gone.
            sizes = {id(past.cache): past.cache.nbytes for past in self._pasts.values()}
            while self._pasts and sum(sizes.values()) > self._max_cache_bytes:
                cache = self._pasts.pop(next(iter(self._pasts))).cache
                if not any(past.cache is cache for past in self._pasts.values()):
                    del sizes[id(cache)]

    @staticmethod
    def _settle(batch: Sequence[_Request], error: BaseException | None) -> None:
        for request in batch:
            if not request.done.set_running_or_notify_cancel():
                continue  # its episode gave up meanwhile
            if error is None:
                request.done.set_result(None)
            else:
                request.done.set_exception(error)


def _end_ids(model: Any) -> frozenset[int]:
    """What the model's generation settings name as ends; chat models often have several."""
    found = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ends = found if isinstance(found, Sequence) else () if found is None else (found,)
    return frozenset(int(end) for end in ends)
