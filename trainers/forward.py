"""The packed forward: one function from a TurnBatch to what the policy says about its tokens.

Legend: N tokens, K turns, S segments, R rows of L positions, M predicted tokens, H hidden, V words.

Segments are laid end to end in rows, positions restarting at 0 in each. A Hugging Face model keeps
such neighbours apart only if it is called without an attention mask and without a cache, and, for
flash attention, with a single row; otherwise they leak into each other without a word. Tests hold
every backend to "packed equals one by one" and "changing a neighbour changes nothing".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from turngym.agents.head import head_logits
from turngym.trainers.batch import take
from turngym.trainers.types import PolicyOutput, TurnBatch

__all__ = ["Layout", "lay_out", "micro_batches", "policy_output"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where each token of a batch lies."""

    input_ids: Tensor
    """[R, L] int64, 0 in the padding at the end of a row."""
    position_ids: Tensor
    """[R, L] int64, from 0 in each segment and in the padding."""
    place: Tensor
    """[N] int64 index of each token in the flattened rows."""


def lay_out(batch: TurnBatch, *, single_row: bool = False) -> Layout:
    """Segments packed into rows as long as the longest one (first fit, longest first).

    Args:
        batch: whose segments to pack.
        single_row: put everything into one row, as flash attention needs it.
    """
    lengths = batch.cu_tokens.diff().tolist()
    width = sum(lengths) if single_row else max(lengths, default=0)
    fill: list[int] = []
    start = [0] * len(lengths)
    for segment in sorted(range(len(lengths)), key=lambda s: (-lengths[s], s)):
        row = next((r for r, used in enumerate(fill) if used + lengths[segment] <= width), -1)
        if row < 0:
            row = len(fill)
            fill.append(0)
        start[segment] = row * width + fill[row]
        fill[row] += lengths[segment]
    device, size = batch.device, (len(fill), width)
    counts = batch.cu_tokens.diff()
    offset = torch.arange(batch.num_tokens, device=device)
    offset -= torch.repeat_interleave(batch.cu_tokens[:-1], counts)
    place = torch.repeat_interleave(torch.tensor(start, device=device), counts) + offset
    # Padding is a segment of its own: its positions restart at 0.
    used = torch.tensor(fill, device=device).unsqueeze(1)
    positions = (torch.arange(width, device=device).unsqueeze(0) - used).clamp(min=0).reshape(-1)
    ids = torch.zeros(size[0] * size[1], dtype=torch.int64, device=device)
    ids[place], positions[place] = batch.token_ids, offset
    return Layout(input_ids=ids.view(size), position_ids=positions.view(size), place=place)


def policy_output(model: Any, batch: TurnBatch, *, entropy: bool = False) -> PolicyOutput:
    """Log-probability (and entropy) of every sampled token at its turn's temperature.

    Tokens that nobody trains on (prompts, masked turns and trajectories) never reach the head and
    get 0. Statistics are fp32 whatever the model's precision.

    Args:
        model: a Hugging Face causal language model.
        batch: on the model's device.
        entropy: also give the entropy of each prediction.

    Raises:
        ValueError: a sampled token opens a segment, so that nothing predicts it.
    """
    trained = batch.loss_mask & batch.turn_mask
    rows = _sampled(batch, trained)
    starts = torch.zeros(batch.num_tokens + 1, dtype=torch.bool, device=batch.device)
    starts[batch.cu_tokens] = True
    if bool(starts[rows].any()):
        raise ValueError("a sampled token opens a segment: every turn needs a prompt before it")
    if rows.numel() == 0:
        nothing = torch.zeros(batch.num_tokens, device=batch.device)
        return PolicyOutput(logprobs=nothing, entropy=nothing if entropy else None)
    single_row = "flash" in str(getattr(model.config, "_attn_implementation", ""))
    layout = lay_out(batch, single_row=single_row)
    hidden = model.get_decoder()(
        input_ids=layout.input_ids, position_ids=layout.position_ids, use_cache=False
    ).last_hidden_state
    states = hidden.reshape(-1, hidden.shape[-1])[layout.place[rows] - 1]  # [M, H]
    temperature = batch.temperature[batch.turn_of_token[rows]]
    # A greedy turn (temperature 0) is described at temperature 1.
    temperature = torch.where(temperature > 0, temperature, 1.0).unsqueeze(1)
    logits = head_logits(model, states).float() / temperature  # [M, V]
    logprobs = logits.log_softmax(-1)
    own = logprobs.gather(1, batch.token_ids[rows].unsqueeze(1)).squeeze(1)
    spread = torch.zeros(batch.num_tokens, device=batch.device)
    return PolicyOutput(
        logprobs=spread.index_copy(0, rows, own),
        entropy=spread.index_copy(0, rows, -(logprobs.exp() * logprobs).sum(-1))
        if entropy
        else None,
    )


def micro_batches(batch: TurnBatch, max_tokens: int) -> list[tuple[TurnBatch, Tensor, Tensor]]:
    """The batch in parts of whole trajectories with at most `max_tokens` tokens where possible.

    Trajectories are taken by length, so that rows of one part are about equally long.

    Returns:
        For each part what `take` gives: the part, its token rows and its turn rows.
    """
    lengths = batch.cu_tokens.diff()
    per_traj = torch.zeros(batch.num_trajectories, dtype=torch.int64, device=batch.device)
    sizes = per_traj.index_add(0, batch.traj_of_segment, lengths).tolist()
    parts: list[list[int]] = []
    total = max_tokens + 1
    for traj in sorted(range(len(sizes)), key=lambda b: (sizes[b], b)):
        if total + sizes[traj] > max_tokens:
            parts.append([])
            total = 0
        parts[-1].append(traj)
        total += sizes[traj]
    return [take(batch, torch.tensor(sorted(part), device=batch.device)) for part in parts]


def _sampled(batch: TurnBatch, trained: Tensor) -> Tensor:
    """[M] rows of the tokens that belong to a trained turn."""
    owner = batch.turn_of_token
    if batch.num_turns == 0:
        return owner.new_zeros(0)
    return ((owner >= 0) & trained[owner.clamp(min=0)]).nonzero().squeeze(1)
