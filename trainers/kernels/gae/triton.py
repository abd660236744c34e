"""Generalized advantage estimation on a GPU: temporal differences in torch, the scan in Triton.

Legend: n steps (turns or tokens).
"""

from __future__ import annotations

import torch
from torch import Tensor

from turngym.trainers.kernels.discounted_return.reference import Table, next_steps
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
    table: Table | None = None,
) -> Advantages:
    """`reference.gae`; `table` changes nothing here."""
    steps = next_steps(row, mask, time)
    own_value = steps.inside(values)
    next_value = steps.ahead(own_value)
    delta = steps.inside(rewards) - own_value
    delta = steps.inside(torch.addcmul(delta, steps.factor(discount), next_value))
    advantage = steps.inside(reverse_scan(steps.factor(discount * smoothing), delta))
    return Advantages(advantage=advantage, returns=advantage + own_value)
