"""Generalized advantage estimation on a GPU: temporal differences in torch, the scan in Triton.

Legend: n steps (turns or tokens).
"""

from __future__ import annotations

import torch
from torch import Tensor

from turngym.trainers.kernels.discounted_return.reference import next_steps
from turngym.trainers.kernels.discounted_return.triton import reverse_scan
from turngym.trainers.kernels.gae.reference import Advantages

__all__ = ["gae"]


def gae(
    rewards: Tensor,
    values: Tensor,
    row: Tensor,
    discount: float,
    smoothing: float,
    *,
    mask: Tensor | None = None,
    time: Tensor | None = None,
) -> Advantages:
    """`reference.gae`."""
    steps = next_steps(row, mask, time)
    own_value = torch.where(steps.mask, values.float(), 0)
    next_value = torch.cat([own_value, own_value.new_zeros(1)])[steps.following]
    delta = torch.where(steps.mask, rewards.float(), 0) - own_value
    delta = delta + steps.factor(discount) * next_value
    advantage = reverse_scan(steps.factor(discount * smoothing), delta)
    advantage = torch.where(steps.mask, advantage, 0)
    return Advantages(advantage=advantage, returns=advantage + own_value)
