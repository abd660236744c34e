"""Discounted sums of what is still to come, over turns or over tokens.

Legend: n steps (turns or tokens), rows are trajectories.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "Steps",
    "Table",
    "discounted_return",
    "next_steps",
    "reverse_scan",
    "row_ends",
    "steady_scan",
]

_BLOCK = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of known length, as the places of their steps in a padded table."""

    place: Tensor
    """[n] int64: row x longest + number of the step in its row."""
    rows: int
    longest: int
    """Steps of the longest row."""


def discounted_return(
    rewards: Tensor,
    row: Tensor,
    discount: float,
    *,
    mask: Tensor | None = None,
    time: Tensor | None = None,
    table: Table | None = None,
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
        table: where the caller knows it; short rows are then one small matrix product.
    """
    if mask is None and time is None:
        return steady_scan(rewards, row, discount, table)
    steps = next_steps(row, mask, time)
    return steps.inside(reverse_scan(steps.factor(discount), steps.inside(rewards)))


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


def steady_scan(
    value: Tensor,
    row: Tensor,
    factor: float,
    table: Table | None = None,
    ends: Tensor | None = None,
) -> Tensor:
    """[n] float32 y_i = value_i + factor y_{i+1} inside each row; arguments as `discounted_return`.

    Matrix products in float64, which no setting for float32 products reaches. `ends` are the last
    steps of all rows but the last, where the caller has them.
    """
    if table is not None and table.longest <= _BLOCK:
        return _padded_scan(value, factor, table).float()
    if value.device.type == "cpu":
        last = row_ends(row) if ends is None else ends
        if _BLOCK * last.shape[0] < value.shape[0]:
            return _blocked_scan(value, last, factor).float()
    return reverse_scan(next_steps(row).factor(factor), value.float())


def row_ends(row: Tensor) -> Tensor:
    """[rows - 1] int64 the last step of each row but the last; on the CPU."""
    # NumPy finds few among many twice as fast.
    return torch.from_numpy(np.flatnonzero((row[1:] != row[:-1]).numpy()))


def _padded_scan(value: Tensor, factor: float, table: Table) -> Tensor:
    """[n] float64: each row of the padded table times a triangle of powers."""
    size = table.rows * table.longest
    padded = value.new_zeros(size, dtype=torch.float64)
    padded.index_copy_(0, table.place, value.double())
    made = padded.view(table.rows, table.longest) @ _powers(factor, table.longest, value.device)
    return made.view(size).index_select(0, table.place)


def _blocked_scan(value: Tensor, ends: Tensor, factor: float) -> Tensor:
    """[n] float64: blocks of 32 steps times a triangle of powers, then what flows between blocks.

    The few blocks that hold one of `ends` are made step by step.
    """
    n = value.shape[0]
    flat = value.new_empty(n + -n % _BLOCK, dtype=torch.float64)
    flat[:n] = value
    flat[n:] = 0
    values = flat.view(-1, _BLOCK)
    made = values @ _powers(factor, _BLOCK, value.device)
    broken, number = torch.unique_consecutive(ends // _BLOCK, return_inverse=True)
    through = values.new_full((broken.shape[0], _BLOCK), factor)
    through[number, ends % _BLOCK] = 0
    through, anew = (blocks.t() for blocks in _within_blocks(through, values[broken]))
    made[broken] = anew

    whole = values.new_full((made.shape[0],), factor**_BLOCK).index_fill_(0, broken, 0)
    carried = _padded(reverse_scan(whole, made[:, 0])[1:], 0)
    made[broken] += through * carried[broken, None]
    carried[broken] = 0
    reach = torch.arange(_BLOCK, 0, -1, dtype=torch.float64, device=value.device)
    return made.addcmul_(carried[:, None], factor**reach).view(-1)[:n]


@functools.lru_cache(maxsize=64)
def _powers(factor: float, size: int, device: torch.device) -> Tensor:
    """[size, size] float64 factor^(from - to), 0 where `from` comes before `to`."""
    place = torch.arange(size, dtype=torch.float64, device=device)
    return (factor ** (place[:, None] - place).clamp_(min=0)).tril_()


def reverse_scan(factor: Tensor, value: Tensor) -> Tensor:
    """[n] y_i = value_i + factor_i y_{i+1}, with y_n = 0, without a loop over i.

    The steps are cut into blocks that advance side by side; what flows from block to block is the
    same recurrence, 32 times shorter. Nothing is divided, so nothing is lost where factors vanish.
    """
    n = value.shape[0]
    if n <= 1:
        return value.clone()
    if n <= _BLOCK and value.device.type == "cpu":
        return _step_by_step(factor, value)
    padding = (0, -n % _BLOCK)
    factors, values = (
        torch.nn.functional.pad(steps, padding).view(-1, _BLOCK) for steps in (factor, value)
    )
    through, made = _within_blocks(factors, values)
    if made.shape[1] > 1:
        carried = reverse_scan(through[0], made[0])
        made[:, :-1].addcmul_(through[:, :-1], carried[1:])
    return made.t().reshape(-1)[:n]


def _within_blocks(factors: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """[32, blocks] twice from [blocks, 32]: the weight of what comes behind, and the scan inside."""
    # With a step of all blocks in one row, each operation runs over adjacent memory.
    factors, values = factors.t().contiguous(), values.t().contiguous()
    through, made = factors.unbind(0), values.unbind(0)
    for step in range(factors.shape[0] - 2, -1, -1):
        made[step].addcmul_(through[step], made[step + 1])
        through[step].mul_(through[step + 1])
    return factors, values


def _step_by_step(factor: Tensor, value: Tensor) -> Tensor:
    """`reverse_scan` of a few steps in Python numbers, which cost less than calls."""
    made, ahead = [], 0.0
    for weight, own in zip(reversed(factor.tolist()), reversed(value.tolist()), strict=True):
        ahead = own + weight * ahead
        made.append(ahead)
    return torch.tensor(made[::-1], dtype=value.dtype)
