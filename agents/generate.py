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


@torch.no_grad()
def generate(
    model: Any, tokenizer: Any, drafts: Sequence[Draft], stop_ids: Set[int]
) -> list[Draft]:
    """Finish every draft in place and give them back.

    A row that is done stays in the batch, writing over one unused position: with rows of similar
    length that costs less than moving the others together.

    Args:
        model: a transformers causal language model; its mode is not changed.
        tokenizer: only to look for stop strings.
        drafts: one row each.
        stop_ids: tokens that end a reply and belong to it.
    """
    longest = max(len(draft.ids) - draft.known for draft in drafts)
    capacity = max(
        max(len(draft.ids) + draft.max_new_tokens, draft.known + longest) for draft in drafts
    )
    pasts = [draft.past for draft in drafts]
    cache = BatchCache(pasts, capacity, model.config.num_hidden_layers)
    logits = _prefill(model, cache, drafts, longest)
    lengths = torch.tensor([len(draft.ids) for draft in drafts])
    live = torch.ones(len(drafts), dtype=torch.bool)
    for position in range(max(draft.max_new_tokens for draft in drafts)):
        tokens = _say(drafts, live, logits, position)
        for row in live.nonzero().squeeze(1).tolist():
            live[row] = _goes_on(drafts[row], tokenizer, stop_ids)
        if not live.any():
            break
        logits = _forward(model, cache, tokens.unsqueeze(1), lengths.unsqueeze(1))[:, 0]
        lengths += live
    for row, draft in enumerate(drafts):
        draft.past = Past(cache, row, len(draft.ids) + len(draft.said) - 1)
    return list(drafts)


def _prefill(model: Any, cache: BatchCache, drafts: Sequence[Draft], longest: int) -> Tensor:
    """[R, V] logits after each prompt. Rows with fewer new tokens are padded on the right; the
    padding is written where the reply will go, and is overwritten before anyone may look at it."""
    ids = torch.zeros(len(drafts), longest, dtype=torch.int64)
    for row, draft in enumerate(drafts):
        new = draft.ids[draft.known :]
        ids[row, : len(new)] = torch.tensor(new)
    known = torch.tensor([draft.known for draft in drafts]).unsqueeze(1)
    last = torch.tensor([len(draft.ids) - draft.known - 1 for draft in drafts])
    return _forward(model, cache, ids, known + torch.arange(longest), last)[:, 0]


def _forward(
    model: Any, cache: BatchCache, ids: Tensor, positions: Tensor, last: Tensor | None = None
) -> Tensor:
    """[R, 1, V] logits of the column `last` [R] of `ids` [R, Q], by default the only one."""
    device = model.device
    seen = int(positions.max()) + 1
    ids, positions = ids.to(device), positions.to(device)
    cache.at(positions, seen)
    hidden = model.get_decoder()(
        input_ids=ids,
        position_ids=positions,
        attention_mask=attention_mask(model.config, positions, seen, model.dtype),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    if last is not None:
        hidden = hidden[torch.arange(hidden.shape[0], device=device), last.to(device)].unsqueeze(1)
    return head_logits(model, hidden)


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
