"""Statistics by key on a GPU: rows sorted by key, one program per key does all passes.

Legend: n rows, M keys.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from turngym.trainers.kernels.segment_norm.reference import ROUNDING, Normed, NormRule
from turngym.trainers.kernels.segment_sum.triton import sorted_segments

__all__ = ["BLOCK", "segment_norm", "segment_norm_kernel"]

BLOCK = 256
"""Rows that a program handles at a time."""

_ROUNDING = tl.constexpr(ROUNDING)


@triton.jit
def _row(ORDER, VALUES, MASK, SOURCE, WEIGHT, place, inside, HAS_MASK, HAS_SOURCE, HAS_WEIGHT):
    """Position, value, use and share in the statistics of each row."""
    row = tl.load(ORDER + place, mask=inside, other=0)
    used = inside
    if HAS_MASK:
        used = used & (tl.load(MASK + row, mask=inside, other=0) != 0)
    value = tl.load(VALUES + row, mask=used, other=0.0).to(tl.float64)
    counted = used
    if HAS_SOURCE:
        counted = counted & (tl.load(SOURCE + row, mask=inside, other=0) != 0)
    share = counted.to(tl.float64)
    if HAS_WEIGHT:
        share = tl.load(WEIGHT + row, mask=counted, other=0.0).to(tl.float64)
    return row, value, used, share


@triton.jit
def _statistics(
    ORDER, VALUES, MASK, SOURCE, WEIGHT, first, last, ddof,
    HAS_MASK: tl.constexpr, HAS_SOURCE: tl.constexpr, HAS_WEIGHT: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Count, mean and variance of the rows of one key, in two walks."""
    shares = tl.zeros((BLOCK,), tl.float64)
    sums = tl.zeros((BLOCK,), tl.float64)
    for start in range(first, last, BLOCK):
        place = start + tl.arange(0, BLOCK)
        _, value, _, share = _row(ORDER, VALUES, MASK, SOURCE, WEIGHT, place, place < last,
                                  HAS_MASK, HAS_SOURCE, HAS_WEIGHT)  # fmt: skip
        shares += share
        sums += share * value
    count = tl.sum(shares)
    mean = tl.sum(sums) / tl.maximum(count, 1.0)
    squares = tl.zeros((BLOCK,), tl.float64)
    for start in range(first, last, BLOCK):
        place = start + tl.arange(0, BLOCK)
        _, value, _, share = _row(ORDER, VALUES, MASK, SOURCE, WEIGHT, place, place < last,
                                  HAS_MASK, HAS_SOURCE, HAS_WEIGHT)  # fmt: skip
        squares += share * (value - mean) * (value - mean)
    return count, mean, tl.sum(squares) / tl.maximum(count - ddof, 1.0)


@triton.jit
def segment_norm_kernel(
    VALUES, ORDER, MASK, SOURCE, WEIGHT,  # [n]
    STARTS,  # [M+1]
    OUT, KEPT,  # [n] results
    ALONE, FLAT,  # [M] results
    ddof, eps, eps_inside, std_floor,
    DIVIDE: tl.constexpr, RAW: tl.constexpr, DROP: tl.constexpr, HAS_MASK: tl.constexpr,
    HAS_SOURCE: tl.constexpr, HAS_WEIGHT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Mean, squared differences, result: three walks over the rows of one key, in float64."""
    key = tl.program_id(0).to(tl.int64)
    first, last = tl.load(STARTS + key), tl.load(STARTS + key + 1)
    count, mean, variance = _statistics(ORDER, VALUES, MASK, SOURCE, WEIGHT, first, last, ddof,
                                        HAS_MASK, HAS_SOURCE, HAS_WEIGHT, BLOCK)  # fmt: skip
    floor = tl.maximum(tl.sqrt(mean * mean + variance) * _ROUNDING, std_floor)
    alone = count == 1
    flat = (tl.sqrt(variance) <= floor) & (count > 1)
    scale = mean * 0 + 1.0
    raw_scale = mean * 0 + 1.0
    if DIVIDE:
        scale = tl.sqrt(variance + eps_inside) + eps
        raw_scale += eps
    for start in range(first, last, BLOCK):
        place = start + tl.arange(0, BLOCK)
        inside = place < last
        row, value, kept, _ = _row(ORDER, VALUES, MASK, SOURCE, WEIGHT, place, inside,
                                   HAS_MASK, HAS_SOURCE, HAS_WEIGHT)  # fmt: skip
        result = tl.where(flat, 0.0, (value - mean) / scale)
        lonely = value * 0
        if RAW:
            lonely = value / raw_scale
        result = tl.where(alone, lonely, result)
        if DROP:
            kept = kept & (alone == 0)
        tl.store(OUT + row, tl.where(kept, result, 0.0).to(tl.float32), mask=inside)
        tl.store(KEPT + row, kept.to(tl.int8), mask=inside)
    tl.store(ALONE + key, alone.to(tl.float32))
    tl.store(FLAT + key, flat.to(tl.float32))


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
    """`reference.segment_norm`."""
    order, starts = sorted_segments(key, num_keys)
    out = values.new_empty(values.shape[0], dtype=torch.float32)
    kept = values.new_empty(values.shape[0], dtype=torch.int8)
    alone = values.new_empty(num_keys, dtype=torch.float32)
    flat = values.new_empty(num_keys, dtype=torch.float32)
    if num_keys > 0:
        segment_norm_kernel[(num_keys,)](
            values.contiguous(),
            order,
            mask,
            source,
            weight,
            starts,
            out,
            kept,
            alone,
            flat,
            float(rule.ddof),
            rule.eps,
            rule.eps_inside,
            rule.std_floor,
            DIVIDE=rule.divide,
            RAW=rule.singleton == "raw",
            DROP=rule.singleton == "drop",
            HAS_MASK=mask is not None,
            HAS_SOURCE=source is not None,
            HAS_WEIGHT=weight is not None,
            BLOCK=BLOCK,
        )
    return Normed(values=out, kept=kept != 0, singletons=alone.sum(), flat=flat.sum())
