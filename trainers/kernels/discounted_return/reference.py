"""Discounted sums of what is still to come, over turns or over tokens.

Legend: n steps (turns or tokens), rows are trajectories.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    longest: int | None = None,
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
        longest: steps of the longest row, where the caller knows it (`max_turns`); short rows are
            then scanned without blocks.
    """
    steps = next_steps(row, mask, time)
    own = steps.inside(rewards)
    return steps.inside(reverse_scan(steps.factor(discount), own, longest))


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Which step follows which."""

    mask: Tensor | None
    """[n] bool; None: all."""
    has_next: Tensor
    """[n] bool: another step of the same row follows inside the mask."""
    following: Tensor | None
    """[n] int64: that step; n where the mask holds nothing more. None: the one right behind."""
    elapsed: Tensor | None
    """[n] float32 time until `following`; None: 1."""

    def inside(self, values: Tensor) -> Tensor:
        """[n] float32, 0 where the mask is false."""
        return values.float() if self.mask is None else torch.where(self.mask, values.float(), 0)

    def ahead(self, values: Tensor) -> Tensor:
        """[n] the value of the following step, 0 where there is none."""
        padded = _padded(values, 0)
        return padded[1:] if self.following is None else padded.index_select(0, self.following)

    def factor(self, base: float) -> Tensor:
        """[n] weight of the step behind: base^elapsed, 0 at the end of a row, 1 outside the mask."""
        weight = self.has_next.float().mul_(base if self.elapsed is None else base**self.elapsed)
        return weight if self.mask is None else torch.where(self.mask, weight, 1.0)


def next_steps(row: Tensor, mask: Tensor | None = None, time: Tensor | None = None) -> Steps:
    """The order of steps; arguments as in `discounted_return`."""
    n = row.shape[0]
    following = None
    if mask is None:
        has_next = _padded(row[1:] == row[:-1], False)[:n]
    else:
        places = torch.arange(n, device=row.device)
        nearest = torch.where(mask, places, n).flip(0).cummin(0).values.flip(0)
        following = torch.cat([nearest[1:], nearest.new_full((min(n, 1),), n)])
        # Index n stands for "nothing"; its row is one that no step has.
        has_next = (_padded(row, -1)[following] == row) & mask
    steps = Steps(mask=mask, has_next=has_next, following=following, elapsed=None)
    if time is None:
        return steps
    return replace(steps, elapsed=(steps.ahead(time) - time).masked_fill(~has_next, 1).float())


def _padded(values: Tensor, value: float | bool) -> Tensor:
    return torch.cat([values, values.new_full((1,), value)])


def reverse_scan(factor: Tensor, value: Tensor, longest: int | None = None) -> Tensor:
    """[n] y_i = value_i + factor_i y_{i+1}, with y_n = 0, without a loop over i.

    The steps are cut into blocks that advance side by side; what flows from block to block is the
    same recurrence, 32 times shorter. Nothing is divided, so nothing is lost where factors vanish.
    Where a factor of 0 is known to come after at most `longest` steps, and that is few, the reach
    of each step is doubled instead until it is long enough.
    """
    n = value.shape[0]
    if n <= 1:
        return value.clone()
    longest = n if longest is None else min(longest, n)
    if longest <= _BLOCK:
        return _doubled(factor, value, longest)
    factors, values = _blocks(factor), _blocks(value)
    through, made = factors.unbind(0), values.unbind(0)
    for step in range(_BLOCK - 2, -1, -1):
        made[step].addcmul_(through[step], made[step + 1])
        through[step].mul_(through[step + 1])
    if values.shape[1] > 1:
        carried = reverse_scan(through[0], made[0])
        values[:, :-1].addcmul_(factors[:, :-1], carried[1:])
    return values.t().reshape(-1)[:n]


def _blocks(steps: Tensor) -> Tensor:
    """[32, blocks]: a block of steps in each column, zeros behind the last step."""
    padded = torch.nn.functional.pad(steps, (0, -steps.shape[0] % _BLOCK))
    return padded.view(-1, _BLOCK).t().contiguous()


def _doubled(factor: Tensor, value: Tensor, longest: int) -> Tensor:
    """`reverse_scan` by doubling: y_i holds `reach` steps, then twice as many."""
    reach = 1
    while reach < longest:
        more = torch.addcmul(value[:-reach], factor[:-reach], value[reach:])
        value = torch.cat([more, value[-reach:]])
        if 2 * reach < longest:
            factor = torch.cat([factor[:-reach] * factor[reach:], factor[-reach:]])
        reach *= 2
    return value.clone() if reach == 1 else value
