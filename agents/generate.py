"""The sampling loop over a transformers model: prefill what is new, then one token at a time.

Legend: R rows, Q new tokens of the longest row, P positions.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from turngym.agents.head import head_logits
from turngym.agents.kv_cache import BatchCache, Past, attention_mask
from turngym.agents.sampler import sample, uniform
from turngym.types import FinishReason, Sampling

__all__ = ["Draft", "generate"]


@dataclass(slots=True)
class Draft:
    """One reply in the making."""

    ids: array[int]
    """The whole prompt of this segment."""
    past: Past | None
    """Keys and values of a prefix of `ids`; afterwards, of the prompt and all but the last token."""
    sampling: Sampling
    seed: int
    max_new_tokens: int
    said: array[int] = field(default_factory=lambda: array("i"))
    logprobs: array[float] = field(default_factory=lambda: array("f"))
    finish_reason: FinishReason = "length"

    @property
    def known(self) -> int:
        """Prompt tokens whose keys and values are in `past`."""
        return 0 if self.past is None else self.past.length


_CHUNK_TOKENS = 8192
"""Most tokens of one prefill pass, for the memory of masks and activations; a row gets at least one."""
_ROOM = 64
"""Positions made ready for replies; the cache grows when they are longer."""


@torch.no_grad()
def generate(
    model: Any, tokenizer: Any, drafts: Sequence[Draft], stop_ids: Set[int]
) -> list[Draft]:
    """Finish every draft in place and give them back.

    A row that is done stays in the batch, writing over one unused position, until half of the rows
    are done; then the others go on in a batch of their own.

    Args:
        model: a transformers causal language model.
        tokenizer: only to look for stop strings.
        drafts: one row each.
        stop_ids: tokens that end a reply and belong to it.
    """
    training = model.training
    model.eval()
    try:
        _reply(model, tokenizer, list(drafts), stop_ids)
    finally:
        model.train(training)
    return list(drafts)


def _reply(model: Any, tokenizer: Any, rows: list[Draft], stop_ids: Set[int]) -> None:
    cache, logits = _read(model, rows)
    lengths = torch.tensor([len(draft.ids) for draft in rows])
    live = torch.ones(len(rows), dtype=torch.bool)
    for position in range(max(draft.max_new_tokens for draft in rows)):
        tokens = _say(rows, live, logits, position)
        for row in live.nonzero().squeeze(1).tolist():
            live[row] = _goes_on(rows[row], tokenizer, stop_ids)
            if not live[row]:
                draft = rows[row]
                draft.past = Past(cache, row, len(draft.ids) + len(draft.said) - 1)
        if not live.any():
            return
        if 2 * int(live.sum()) <= len(rows):
            keep = live.nonzero().squeeze(1)
            cache, rows = cache.rows(keep.to(model.device)), [rows[row] for row in keep.tolist()]
            tokens, lengths, live = tokens[keep], lengths[keep], live[keep]
        states = _forward(model, cache, tokens.unsqueeze(1), lengths.unsqueeze(1))
        logits = head_logits(model, states[:, 0])
        lengths += live


def _read(model: Any, drafts: Sequence[Draft]) -> tuple[BatchCache, Tensor]:
    """The cache and [R, V] logits after the prompts.

    Rows without a past that have the same prompt (the members of a group) are computed once.
    """
    place: dict[bytes | int, int] = {}
    row_of_draft = []
    unique: list[Draft] = []
    for index, draft in enumerate(drafts):
        key = draft.ids.tobytes() if draft.past is None else index
        if place.setdefault(key, len(unique)) == len(unique):
            unique.append(draft)
        row_of_draft.append(place[key])
    capacity = max(len(draft.ids) + min(draft.max_new_tokens, _ROOM) for draft in drafts)
    cache = BatchCache([draft.past for draft in unique], capacity)
    logits = _prefill(model, cache, unique)
    if len(unique) < len(drafts):
        rows = torch.tensor(row_of_draft, device=model.device)
        cache, logits = cache.rows(rows), logits[rows]
    return cache, logits


def _prefill(model: Any, cache: BatchCache, drafts: Sequence[Draft]) -> Tensor:
    """[R, V] logits after each prompt. Rows with fewer new tokens are padded on the right; all of
    the padding is written where the reply will begin, and is overwritten before anyone looks."""
    longest = max(len(draft.ids) - draft.known for draft in drafts)
    ids = torch.zeros(len(drafts), longest, dtype=torch.int64)
    for row, draft in enumerate(drafts):
        new = draft.ids[draft.known :]
        ids[row, : len(new)] = torch.tensor(new)
    known = torch.tensor([draft.known for draft in drafts]).unsqueeze(1)
    last = torch.tensor([len(draft.ids) - draft.known - 1 for draft in drafts])
    positions = known + torch.minimum(torch.arange(longest), last.unsqueeze(1) + 1)
    chunk = max(1, _CHUNK_TOKENS // len(drafts))
    final: list[Tensor | None] = [None] * len(drafts)
    for start in range(0, longest, chunk):
        part = slice(start, start + chunk)
        states = _forward(model, cache, ids[:, part], positions[:, part])
        for row in ((last >= start) & (last < start + chunk)).nonzero().squeeze(1).tolist():
            final[row] = states[row, int(last[row]) - start]
    return head_logits(model, torch.stack([state for state in final if state is not None]))


def _forward(model: Any, cache: BatchCache, ids: Tensor, positions: Tensor) -> Tensor:
    """[R, Q, hidden] states of `ids` [R, Q]."""
    seen = int(positions.max()) + 1
    ids, positions = ids.to(model.device), positions.to(model.device)
    cache.at(positions, seen)
    states: Tensor = model.get_decoder()(
        input_ids=ids,
        position_ids=positions,
        attention_mask=attention_mask(model.config, positions, seen, model.dtype),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    return states


def _say(drafts: Sequence[Draft], live: Tensor, logits: Tensor, position: int) -> Tensor:
    """[R] the next tokens, added to the drafts that are live."""
    noise = uniform([draft.seed for draft in drafts], position)
    tokens, logprobs = sample(logits, [draft.sampling for draft in drafts], noise)
    words, weights = tokens.tolist(), logprobs.tolist()
    for row in live.nonzero().squeeze(1).tolist():
        drafts[row].said.append(words[row])
        drafts[row].logprobs.append(weights[row])
    return tokens.cpu()


def _goes_on(draft: Draft, tokenizer: Any, stop_ids: Set[int]) -> bool:
    """Whether the draft needs another token; sets its finish reason when it ended by itself."""
    if draft.said[-1] in stop_ids:
        draft.finish_reason = "stop"
        return False
    if draft.sampling.stop:
        text = tokenizer.decode(draft.said)
        if any(stop in text for stop in draft.sampling.stop):
            draft.finish_reason = "stop"
            return False
    return len(draft.said) < draft.max_new_tokens
