"""Clipped regression of a value head.

Legend: N tokens, K turns.
"""

from __future__ import annotations

import torch
from pydantic import Field

from turngym.config import Config
from turngym.errors import UsageError
from turngym.trainers.losses.denominators import (
    Aggregation,
    Denominators,
    loss_tokens,
    turn_scale,
)
from turngym.trainers.types import Credit, Loss, PolicyOutput, TurnBatch

__all__ = ["VALUES_COLUMN", "ValueConfig", "value_loss"]

VALUES_COLUMN = "values"
"""Token or turn column with the values from before the update."""


class ValueConfig(Config):
    """The value loss."""

    clip: float | None = Field(default=0.5, gt=0)
    """How far the value may move from the one before the update; None: no bound."""
    coef: float = Field(default=0.5, ge=0)
    """Weight of the loss."""
    aggregation: Aggregation = "token-mean"
    """How the losses of tokens become one number."""
    fixed_length: int | None = Field(default=None, gt=0)
    """Tokens; the divisor of seq-mean-token-sum-norm."""


def value_loss(
    output: PolicyOutput,
    batch: TurnBatch,
    credit: Credit,
    denominators: Denominators,
    config: ValueConfig,
) -> Loss:
    """coef * 1/2 max((V - R)^2, (clip(V, V_old +- clip) - R)^2) over the trained tokens.

    Returns per turn ([K]) count for every token of the turn; V_old is the column `values` over
    tokens or turns, and without it nothing is clipped (PPO2's value clipping).

    Raises:
        UsageError: the output has no values, or the credit no returns.
    """
    if output.values is None or credit.returns is None:
        missing = "values in the policy output" if output.values is None else "returns in credit"
        raise UsageError(f"the value loss needs {missing}: use a critic and a method that has one")
    mask = loss_tokens(batch)
    turn = batch.turn_of_token.clamp_min(0)
    per_token = credit.returns.shape[0] == batch.num_tokens
    target = credit.returns if per_token else credit.returns[turn]
    values = torch.where(mask, output.values, 0.0)
    error = (values - target).square()
    cut = torch.zeros_like(mask)
    old = batch.token_columns.get(VALUES_COLUMN)
    if old is None and VALUES_COLUMN in batch.turn_columns:
        old = batch.turn_columns[VALUES_COLUMN][turn]
    if old is not None and config.clip is not None:
        near = torch.minimum(torch.maximum(values, old - config.clip), old + config.clip)
        bounded = (near - target).square()
        cut = bounded > error
        error = torch.where(cut, bounded, error)
    scale = turn_scale(batch, mask, denominators, config.aggregation, config.fixed_length)[turn]
    total = config.coef * torch.where(mask, scale * error / 2, 0.0).sum()
    tokens = mask.sum().clamp_min(1)
    residual = torch.where(mask, values.detach() - target, 0.0).abs().sum() / tokens
    clipped, mean_error = torch.stack([(cut & mask).sum() / tokens, residual]).tolist()
    return Loss(
        value=total,
        denominators=denominators.as_mapping(),
        metrics={"value_clip_fraction": clipped, "value_error": mean_error},
    )
