"""The launches behind a token plan: one over trajectories, one that whitens, one for the metrics.

Legend: N tokens, K turns, B trajectories.
"""

from __future__ import annotations

import torch

from turngym.trainers.kernels.token_credit.plan import TokenPlan
from turngym.trainers.kernels.token_credit.triton import token_kernel
from turngym.trainers.kernels.turn_credit.launch import metrics_of, norm_over_batch
from turngym.trainers.types import Credit, TurnBatch

__all__ = ["BLOCK", "NUM_WARPS", "token_credit"]

BLOCK = 512
"""Tokens of a trajectory that a program handles at a time."""
NUM_WARPS = 8


def token_credit(batch: TurnBatch, plan: TokenPlan) -> Credit | None:
    """`plan` over the batch in three launches; None for a batch without a table."""
    if batch.cu_traj_tokens is None or batch.num_turns == 0:
        return None
    tokens, programs = batch.num_tokens, batch.num_trajectories
    like = batch.outcome
    result, unsettled = like.new_empty((2, tokens + batch.num_turns)).unbind()
    used = like.new_empty(tokens + batch.num_turns, dtype=torch.int8)
    returns = like.new_empty(tokens) if plan.critic else None
    parts = like.new_empty((3, programs), dtype=torch.float64)
    counts = like.new_empty((8, programs))
    token_kernel[(programs,)](
        batch.turn_of_token,
        batch.cu_traj_tokens,
        batch.cu_turns,
        batch.tokens_of_turn,
        batch.traj_mask,
        batch.outcome,
        batch.turn_rewards,
        batch.reward_mask,
        batch.loss_mask,
        batch.token_columns["values"].contiguous() if plan.critic else None,
        result,
        unsettled,
        used,
        returns,
        parts,
        tokens,
        PLAN=plan,
        BLOCK=BLOCK,
        num_warps=NUM_WARPS,
    )
    add = plan.own != 0
    norm_over_batch(plan.wide, parts, unsettled, used, result, counts, add=add)
    return Credit(
        turn=result[tokens:],
        token=result[:tokens],
        returns=returns,
        metrics=metrics_of(plan.norms, counts),
    )
