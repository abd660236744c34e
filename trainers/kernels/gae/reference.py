"""Generalized advantage estimation over turns or over tokens.

Legend: n steps (turns or tokens), rows are trajectories.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from turngym.trainers.kernels.discounted_return.reference import (
    Steps,
    Table,
    next_steps,
    reverse_scan,
    row_ends,
    steady_scan,
)

__all__ = ["Advantages", "gae"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advantages:
    """What `gae` gives."""

    advantage: Tensor
    """[n] float32, 0 where the mask is false."""
    returns: Tensor
    """[n] float32 advantage + value, the target of the value head, 0 where the mask is false."""


def gae(
    rewards: Tensor,
    values: Tensor,
    row: Tensor,
    discount: float,
    smoothing: float,
    *,
    mask: Tensor | None = None,
    time: Tensor | None = None,
    table: Table | None = None,
) -> Advantages:
    """A_i = d_i + (discount smoothing)^dt A_next with d_i = r_i + discount^dt V_next - V_i.

    `next` is the next step of the same row inside the mask: V and A are carried over observation
    tokens. The step after the last has V = A = 0.

    Args:
        rewards: [n]; anything, NaN included, where the mask is false.
        values: [n] V; as `rewards`.
        row: [n] int64: trajectory of each step; steps of a row are adjacent and in order. Read only
            inside the mask.
        discount: gamma, per unit of time.
        smoothing: lambda, per unit of time.
        mask: [n] bool: steps that exist; None: all.
        time: [n] int64 that rises along a row, such as the turn index of each token (turn time);
            None: every step inside the mask takes one unit (token time).
        table: where the caller knows it; short rows are then one small matrix product.
    """
    if mask is None and time is None and rewards.device.type == "cpu":
        return _steady(rewards.float(), values.float(), row, discount, smoothing, table)
    steps = next_steps(row, mask, time)
    own_value = steps.inside(values)
    delta = _errors(steps, steps.inside(rewards), own_value, discount)
    advantage = steps.inside(reverse_scan(steps.factor(discount * smoothing), delta))
    return Advantages(advantage=advantage, returns=advantage + own_value)


def _steady(
    rewards: Tensor,
    values: Tensor,
    row: Tensor,
    discount: float,
    smoothing: float,
    table: Table | None,
) -> Advantages:
    """Every step exists and takes one unit of time."""
    ends = row_ends(row)
    errors = rewards - values
    at_ends = errors.index_select(0, ends)
    errors[:-1].add_(values[1:], alpha=discount)
    errors.index_copy_(0, ends, at_ends)
    advantage = steady_scan(errors, row, discount * smoothing, table, ends)
    return Advantages(advantage=advantage, returns=advantage + values)


def _errors(steps: Steps, rewards: Tensor, values: Tensor, discount: float) -> Tensor:
    """[n] d_i = r_i + discount^dt V_next - V_i, 0 outside the mask."""
    errors = torch.addcmul(rewards - values, steps.factor(discount), steps.ahead(values))
    return errors if steps.mask is None else errors.masked_fill(~steps.mask, 0)
