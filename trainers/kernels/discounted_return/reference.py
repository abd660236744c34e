"""Discounted sums of what is still to come, over turns or over tokens.

Legend: n steps (turns or tokens), rows are trajectories.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Steps", "discounted_return", "next_steps", "reverse_scan"]

_BLOCK = 32


def discounted_return(
    rewards: Tensor,
    row: Tensor,
    discount: float,
    *,
    mask: Tensor | None = None,
    time: Tensor | None = None,
) -> Tensor:
    """[n] float32 G_i = r_i + discount^dt G_next, 0 where the mask is false.

    `next` is the next step of the same row inside the mask, so observation tokens take no time and
    their rewards do not count. Cost is linear in n, whatever the lengths of the rows.

    Args:
        rewards: [n]; anything, NaN included, where the mask is false.
        row: [n] int64: trajectory of each step; steps of a row are adjacent and in order. Read only
            inside the mask.
        discount: per unit of time.
        mask: [n] bool: steps that exist; None: all.
        time: [n] int64 that rises along a row, such as the turn index of each token (turn time);
            None: every step inside the mask takes one unit (token time).
    """
    steps = next_steps(row, mask, time)
    own = torch.where(steps.mask, rewards.float(), 0)
    return torch.where(steps.mask, reverse_scan(steps.factor(discount), own), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Which step follows which."""

    mask: Tensor
    """[n] bool."""
    following: Tensor
    """[n] int64: the next step of the same row inside the mask; n where there is none."""
    elapsed: Tensor | None
    """[n] float32 time until `following`; None: 1."""

    def factor(self, base: float) -> Tensor:
        """[n] weight of the step behind: base^elapsed, 0 at the end of a row, 1 outside the mask."""
        has_next = (self.following < self.mask.shape[0]).float()
        inside = has_next * base if self.elapsed is None else has_next * base**self.elapsed
        return torch.where(self.mask, inside, 1.0)


def next_steps(row: Tensor, mask: Tensor | None, time: Tensor | None) -> Steps:
    """The order of steps; arguments as in `discounted_return`."""
    n = row.shape[0]
    places = torch.arange(n, device=row.device)
    if mask is None:
        mask = torch.ones_like(row, dtype=torch.bool)
        ahead = places + 1
    else:
        nearest = torch.where(mask, places, n).flip(0).cummin(0).values.flip(0)
        ahead = torch.cat([nearest[1:], nearest.new_full((min(n, 1),), n)])
    # Index n stands for "nothing"; its row is one that no step has.
    rows = torch.cat([row, row.new_full((1,), -1)])
    following = torch.where(mask & (rows[ahead] == row), ahead, n)
    if time is None:
        return Steps(mask=mask, following=following, elapsed=None)
    times = torch.cat([time, time.new_zeros(1)])
    elapsed = torch.where(following < n, times[following] - time, 1).float()
    return Steps(mask=mask, following=following, elapsed=elapsed)


def reverse_scan(factor: Tensor, value: Tensor) -> Tensor:
    """[n] y_i = value_i + factor_i y_{i+1}, with y_n = 0, without a loop over i.

    The steps are cut into blocks that advance side by side; what flows from block to block is the
    same recurrence, 32 times shorter. Nothing is divided, so nothing is lost where factors vanish.
    """
    n = value.shape[0]
    if n <= 1:
        return value.clone()
    blocks = -(-n // _BLOCK)
    pad = blocks * _BLOCK - n
    factors = torch.nn.functional.pad(factor, (0, pad)).view(blocks, _BLOCK).t().contiguous()
    values = torch.nn.functional.pad(value, (0, pad)).view(blocks, _BLOCK).t().contiguous()
    for step in range(_BLOCK - 2, -1, -1):
        values[step].addcmul_(factors[step], values[step + 1])
        factors[step].mul_(factors[step + 1])
    if blocks > 1:
        carried = reverse_scan(factors[0], values[0])
        values[:, :-1].addcmul_(factors[:, :-1], carried[1:])
    return values.t().reshape(-1)[:n]
