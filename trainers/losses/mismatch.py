"""Importance weights for the gap between the engine that sampled and the trainer that learns.

Legend: N tokens, K turns, B trajectories.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from turngym.config import Config
from turngym.trainers.kernels.turn_policy_loss import LOG_RATIO_LIMIT
from turngym.trainers.losses.denominators import loss_tokens, traj_of_token
from turngym.trainers.types import TurnBatch

__all__ = ["MismatchConfig", "mean_weight", "mismatch_weight"]


class MismatchConfig(Config):
    """How tokens are weighted whose engine and trainer log-probabilities differ."""

    level: Literal["token", "turn", "sequence"] = "token"
    """The unit whose probabilities are compared."""
    mode: Literal["truncate", "mask"] = "truncate"
    """`truncate`: weights above `high` become `high`; `mask`: weights outside become 0."""
    high: float = Field(default=2.0, ge=1)
    low: float = Field(default=0.0, ge=0, le=1)
    """With `mask`, weights below it become 0 as well."""


def mismatch_weight(batch: TurnBatch, config: MismatchConfig) -> Tensor:
    """[N] float32: exp(sum over the unit of old - sampled log-probability), truncated or masked.

    1 where `old_logprobs` is None and on tokens that are not trained. The weight of a turn or
    sequence is the ratio of the probabilities of all its trained tokens. It corrects the sampling
    distribution and carries no gradient; masked tokens still count in the denominators, as dropped
    samples do in truncated importance sampling.
    """
    if batch.old_logprobs is None:
        return torch.ones_like(batch.sampled_logprobs)
    mask = loss_tokens(batch)
    gap = torch.where(mask, batch.old_logprobs - batch.sampled_logprobs, 0.0)
    if config.level == "turn":
        unit, size = batch.turn_of_token.clamp_min(0), batch.num_turns
    else:
        unit, size = traj_of_token(batch), batch.num_trajectories
    if config.level != "token":
        gap = gap.new_zeros(size).index_add(0, unit, gap)[unit]
    weight = gap.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    if config.mode == "truncate":
        weight = weight.clamp_max(config.high)
    else:
        inside = (weight >= config.low) & (weight <= config.high)
        weight = torch.where(inside, weight, 0.0)
    return torch.where(mask, weight, 1.0).detach()


def mean_weight(batch: TurnBatch, logprobs: Tensor) -> float:
    """Mean over the trained tokens of exp(trainer - engine log-probability), not truncated: 1 where
    both compute the same; NaN without a trained token.

    Args:
        batch: holds the engine's, `sampled_logprobs`.
        logprobs: [N] the trainer's, of the weights that were sampled from.
    """
    gap = (logprobs - batch.sampled_logprobs)[loss_tokens(batch)]
    return float(gap.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp().mean())
