"""The policy loss from hidden states on one CPU thread: one pass against recomputing the logits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from random_batches import random_batch
from report import Row, milliseconds

from turngym.trainers.losses import ClipConfig, Denominators, fused_policy_loss, plan_scoring
from turngym.trainers.types import Credit

HIDDEN, VOCAB, TRAJECTORIES, TOKENS = 512, 8192, 24, 192


def head_rows() -> tuple[list[Row], dict[str, Any]]:
    """One pass against two, and the time when fewer tokens are ours."""
    draw = torch.Generator().manual_seed(0)
    batch = random_batch(TRAJECTORIES, TOKENS)
    count = batch.num_tokens
    batch = replace(
        batch,
        token_ids=torch.randint(VOCAB, (count,), generator=draw),
        sampled_logprobs=torch.full((count,), -9.7),
    )
    credit = Credit(turn=torch.randn(batch.num_turns, generator=draw))
    hidden = 0.3 * torch.randn(count, HIDDEN, generator=draw)
    head = 0.05 * torch.randn(VOCAB, HIDDEN, generator=draw)
    hidden.requires_grad_()
    head.requires_grad_()
    config = ClipConfig(ratio="turn")

    def gradients(batch: Any, plan: Any) -> tuple[torch.Tensor, ...]:
        denominators = Denominators.of(batch)
        loss = fused_policy_loss(hidden, head, batch, credit, denominators, config, plan)
        return torch.autograd.grad(loss.value, (hidden, head))

    once = plan_scoring(batch, "turn", chunk=256)
    twice = replace(once, one_pass=False)
    pairs = zip(gradients(batch, once), gradients(batch, twice), strict=True)
    difference = max(float((left - right).abs().max()) for left, right in pairs)
    assert difference <= 1e-5, difference
    row = Row(
        case=f"policy loss from hidden states, {once.tokens.shape[0]} tokens",
        peer="the same, logits made twice (8NHV)",
        ours_ms=milliseconds(lambda: gradients(batch, once), budget_s=4),
        peer_ms=milliseconds(lambda: gradients(batch, twice), budget_s=4),
        largest_difference=difference,
        target=1.25,
    )
    half = replace(batch, loss_mask=batch.turn_index % 2 == 0)
    plan = plan_scoring(half, "turn", chunk=256)
    taken = milliseconds(lambda: gradients(half, plan), budget_s=4)
    every = once.tokens.shape[0]
    return [row], {
        "loss_tokens": {
            "share_of_tokens": round(plan.tokens.shape[0] / every, 3),
            "share_of_time": round(taken / row.ours_ms, 3),
        }
    }
