"""How likely a text is at several points of a conversation: many branches off one trunk.

Legend: P trunk tokens, Q branches, W words.

A branch is a text that the model might say after the first `at` tokens of the trunk. `scores_naive`
is the definition, one forward per branch. `scores_packed` reads the trunk once: branches lie behind
it in one row, and a mask lets each see its own part of the trunk and itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from turngym.agents.head import head_logits

__all__ = ["Branch", "branch_scores", "scores_naive", "scores_packed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A text at one point of the trunk."""

    at: int
    """How many tokens of the trunk come before it; at least 1."""
    ids: tuple[int, ...]
    """Its tokens up to the last scored one."""
    scored: tuple[bool, ...]
    """Which of them are scored; one at least."""


def branch_scores(model: Any, trunk: Sequence[int], branches: Sequence[Branch]) -> Tensor:
    """[Q] float32 mean log-probability of each branch's scored tokens, the fastest way that is exact.

    Flash attention takes no mask of one's own, and sliding windows would need one per layer: there
    each branch is read with its part of the trunk.
    """
    config = model.config
    exact = getattr(config, "_attn_implementation", "") in ("sdpa", "eager")
    windowed = getattr(config, "sliding_window", None) is not None
    read = scores_packed if exact and not windowed else scores_naive
    return read(model, trunk, branches)


@torch.no_grad()
def scores_naive(model: Any, trunk: Sequence[int], branches: Sequence[Branch]) -> Tensor:
    """The definition: the model's own forward on trunk[:at] + ids, one branch after the other."""
    found = []
    for branch in branches:
        ids = torch.tensor([[*trunk[: branch.at], *branch.ids]], device=model.device)
        logits = model(ids, use_cache=False).logits[0, branch.at - 1 : -1].float()
        own = logits.log_softmax(-1).gather(1, ids[0, branch.at :].unsqueeze(1)).squeeze(1)
        found.append(own[torch.tensor(branch.scored, device=model.device)].mean())
    return torch.stack(found) if found else torch.zeros(0, device=model.device)


@torch.no_grad()
def scores_packed(model: Any, trunk: Sequence[int], branches: Sequence[Branch]) -> Tensor:
    """The same in one forward of P + sum of branch lengths positions."""
    if not branches:
        return torch.zeros(0, device=model.device)
    device = model.device
    shared = max(branch.at for branch in branches)  # nobody sees the trunk beyond
    sizes = torch.tensor([len(branch.ids) for branch in branches], device=device)
    ats = torch.tensor([branch.at for branch in branches], device=device)
    starts = shared + sizes.cumsum(0) - sizes
    ids = [*trunk[:shared], *(token for branch in branches for token in branch.ids)]
    owner = torch.repeat_interleave(torch.arange(len(branches), device=device), sizes)
    inner = torch.arange(len(owner), device=device) - (starts - shared)[owner]
    positions = torch.cat([torch.arange(shared, device=device), ats[owner] + inner])
    hidden = model.get_decoder()(
        input_ids=torch.tensor([ids], device=device),
        position_ids=positions.unsqueeze(0),
        attention_mask=_mask(shared, ats, owner, model.dtype),
        use_cache=False,
    ).last_hidden_state[0]
    # What speaks of a branch's first token is the trunk's token before it.
    rows = torch.where(inner == 0, ats[owner] - 1, starts[owner] + inner - 1)
    scored = torch.tensor([flag for b in branches for flag in b.scored], device=device)
    own = torch.tensor(ids[shared:], device=device)[scored]
    logprobs = head_logits(model, hidden[rows[scored]]).float().log_softmax(-1)
    own = logprobs.gather(1, own.unsqueeze(1)).squeeze(1)
    zeros = torch.zeros(len(branches), device=device)
    counts = zeros.index_add(0, owner[scored], torch.ones_like(own))
    return zeros.index_add(0, owner[scored], own) / counts


def _mask(shared: int, ats: Tensor, owner: Tensor, dtype: torch.dtype) -> Tensor:
    """[1, 1, L, L] additive: 0 where a row may look, the lowest number elsewhere."""
    size = shared + owner.shape[0]
    place = torch.arange(size, device=owner.device)
    may = place[:, None] >= place[None, :]
    may[shared:, :shared] = place[None, :shared] < ats[owner][:, None]
    may[shared:, shared:] &= owner[:, None] == owner[None, :]
    lowest = torch.finfo(dtype).min
    return torch.zeros(size, size, dtype=dtype, device=owner.device).masked_fill(~may, lowest)[
        None, None
    ]
