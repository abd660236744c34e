"""DAPO's soft penalty for overlong replies (arXiv 2503.14476 equation 13), over whole episodes.

Legend: N tokens, B trajectories.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from turngym.trainers.config import OverlongConfig
from turngym.trainers.types import TurnBatch

__all__ = ["overlong_penalty", "penalized"]


def overlong_penalty(lengths: Tensor, config: OverlongConfig) -> Tensor:
    """[B] what `lengths` [B] sampled tokens add to the outcome: 0 down to -factor."""
    over = (lengths - (config.max_tokens - config.buffer)) / config.buffer
    return -config.factor * over.clamp(0, 1)


def penalized(batch: TurnBatch, config: OverlongConfig) -> tuple[TurnBatch, dict[str, float]]:
    """The batch with penalised outcomes, and the mean penalty and its reach over trajectories that
    count. What is stored and what counts as a success stay as they are."""
    ours = batch.turn_of_token[batch.turn_of_token >= 0]
    lengths = torch.bincount(batch.traj_of_turn[ours], minlength=batch.num_trajectories)
    penalty = torch.where(batch.traj_mask, overlong_penalty(lengths, config), 0.0)
    counted = batch.traj_mask.sum().clamp(min=1)
    return replace(batch, outcome=batch.outcome + penalty), {
        "overlong/penalty": float(penalty.sum() / counted),
        "overlong/share": float((penalty < 0).sum() / counted),
    }
