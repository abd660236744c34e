"""Values centred and scaled by the statistics of the rows that share their key.

Legend: n rows, M keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from turngym.trainers.kernels.segment_sum.reference import segment_sum

__all__ = ["NormRule", "Normed", "Singleton", "segment_norm"]

Singleton = Literal["zero", "raw", "drop"]

ROUNDING = 1e-6
"""A deviation below this share of the values' root mean square is rounding, not spread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NormRule:
    """The constants of (x - mean) / (sqrt(var + eps_inside) + eps)."""

    ddof: int = 0
    """0: population variance, 1: unbiased."""
    eps: float = 1e-8
    eps_inside: float = 0.0
    divide: bool = True
    """False: only subtract the mean."""
    std_floor: float = 1e-8
    """Segments whose deviation is smaller give exactly 0."""
    singleton: Singleton = "zero"
    """A segment of one: 0; `raw` takes mean 0 and deviation 1; `drop` gives 0 and clears `kept`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normed:
    """What `segment_norm` gives."""

    values: Tensor
    """[n] float32, 0 where the mask is false or the row was dropped."""
    kept: Tensor
    """[n] bool: in the mask and not dropped."""
    singletons: Tensor
    """Scalar float32: segments of one."""
    flat: Tensor
    """Scalar float32: segments of several equal values."""


def segment_norm(
    values: Tensor,
    key: Tensor,
    num_keys: int,
    rule: NormRule,
    *,
    mask: Tensor | None = None,
    source: Tensor | None = None,
    weight: Tensor | None = None,
) -> Normed:
    """(x - mean) / (sqrt(var + eps_inside) + eps) with the statistics of the rows of equal key.

    Two passes (mean, then squared differences) in float64, float32 where a device has none; equal
    values give exactly 0. A value that is not finite inside the mask spoils its own segment, visibly.

    Args:
        values: [n]; anything, NaN included, where the mask is false.
        key: [n] int64 in 0..num_keys-1, in any order.
        num_keys: M, a Python int, so that nothing waits for the device.
        rule: constants.
        mask: [n] bool: rows that count; None: all.
        source: [n] bool: rows of the mask that the statistics come from; None: all of the mask.
        weight: [n]: how often a row counts in the statistics (tokens of a turn); None: once.
    """
    wide = torch.float32 if values.device.type == "mps" else torch.float64
    mask, source = _selecting(mask), _selecting(source)
    x = values.to(wide, copy=True)
    if mask is not None:
        x.masked_fill_(~mask, 0)
    share = _share(x, mask, source, weight)

    def sums(rows: Tensor, times: Tensor | None) -> Tensor:
        return _sums(rows, times, key, num_keys)

    def of_row(per_key: Tensor) -> Tensor:
        return per_key if num_keys == 1 else per_key.index_select(0, key)

    count = sums(x.new_ones(()).expand_as(x) if share is None else share, None)
    one = count == 1
    mean = sums(x, share).div_(count.clamp(min=1))
    if rule.singleton == "raw":
        mean.masked_fill_(one, 0)
    x.sub_(of_row(mean))
    var = sums(x, x if share is None else x * share).div_((count - rule.ddof).clamp_(min=1))
    floor = torch.addcmul(var, mean, mean).mul_(ROUNDING**2).clamp_(min=rule.std_floor**2)
    flat = (var <= floor) & (count > 1)

    x.mul_(of_row(_factor(var, one, rule).masked_fill_(flat, 0)))
    if mask is not None:
        x.masked_fill_(~mask, 0)
    kept = torch.ones_like(key, dtype=torch.bool) if mask is None else mask
    if rule.singleton == "drop":
        kept = kept & ~of_row(one)
    return Normed(
        values=x.float(),
        kept=kept,
        singletons=one.sum(dtype=torch.float32),
        flat=flat.sum(dtype=torch.float32),
    )


def _sums(rows: Tensor, times: Tensor | None, key: Tensor, num_keys: int) -> Tensor:
    """[M] sums of rows x times; one key for all rows needs no scatter."""
    if num_keys == 1:
        return (rows.sum() if times is None else torch.dot(rows, times)).view(1)
    rows = rows if times is None else rows * times
    if rows.device.type == "cpu":  # no key is -1 here
        return rows.new_zeros(num_keys).index_add_(0, key, rows)
    return segment_sum(rows, key, num_keys)


def _factor(var: Tensor, one: Tensor, rule: NormRule) -> Tensor:
    """[M] what centred values are multiplied by, in segments of several and of one."""
    if not rule.divide:
        return torch.ones_like(var).masked_fill_(one, float(rule.singleton == "raw"))
    factor = (var + rule.eps_inside).sqrt_().add_(rule.eps).reciprocal_()
    return factor.masked_fill_(one, 1 / (1 + rule.eps) if rule.singleton == "raw" else 0.0)


def _selecting(rows: Tensor | None) -> Tensor | None:
    """None where all rows are in, as far as that is known without waiting for a device."""
    if rows is not None and rows.device.type == "cpu" and bool(rows.all()):
        return None
    return rows


def _share(
    x: Tensor, mask: Tensor | None, source: Tensor | None, weight: Tensor | None
) -> Tensor | None:
    """[n] how often each row counts in the statistics, in the dtype of `x`; None: once."""
    rows = mask if source is None else source if mask is None else mask & source
    if weight is None:
        return None if rows is None else rows.to(x.dtype)
    share = weight.to(x.dtype)
    return share if rows is None else share.masked_fill(~rows, 0)
