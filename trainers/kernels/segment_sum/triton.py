"""Sums by key on a GPU: rows sorted by key, one program per key, no atomic additions.

Legend: n rows, M keys.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from turngym.trainers.kernels.spread import reference as spread_reference

__all__ = ["BLOCK", "segment_mean", "segment_sum", "segment_sum_kernel", "sorted_segments"]

BLOCK = 256
"""Rows that a program handles at a time."""


@triton.jit
def segment_sum_kernel(VALUES, ORDER, STARTS, OUT, COUNTS, BLOCK: tl.constexpr):
    """[M] sum and number of rows of each key."""
    key = tl.program_id(0).to(tl.int64)
    first = tl.load(STARTS + key)
    last = tl.load(STARTS + key + 1)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(first, last, BLOCK):
        place = start + tl.arange(0, BLOCK)
        inside = place < last
        row = tl.load(ORDER + place, mask=inside, other=0)
        total += tl.load(VALUES + row, mask=inside, other=0.0).to(tl.float32)
    tl.store(OUT + key, tl.sum(total))
    tl.store(COUNTS + key, (last - first).to(tl.float32))


def segment_sum(values: Tensor, key: Tensor, num_keys: int) -> Tensor:
    """`reference.segment_sum`, summed in float32."""
    apply: Any = _SegmentSum.apply
    result: Tensor = apply(values, key, num_keys, False)
    return result


def segment_mean(values: Tensor, key: Tensor, num_keys: int) -> Tensor:
    """`reference.segment_mean`, summed in float32."""
    apply: Any = _SegmentSum.apply
    result: Tensor = apply(values, key, num_keys, True)
    return result


def sorted_segments(key: Tensor, num_keys: int) -> tuple[Tensor, Tensor]:
    """[n] int64 rows by key, in row order within a key, and [M+1] int64 where each key begins."""
    ordered, order = torch.sort(key, stable=True)
    starts = torch.searchsorted(ordered, torch.arange(num_keys + 1, device=key.device))
    return order, starts


class _SegmentSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, key: Tensor, num_keys: int, mean: bool) -> Tensor:
        order, starts = sorted_segments(key, num_keys)
        sums = values.new_empty(num_keys, dtype=torch.float32)
        counts = values.new_empty(num_keys, dtype=torch.float32)
        if num_keys > 0:
            segment_sum_kernel[(num_keys,)](
                values.contiguous(), order, starts, sums, counts, BLOCK=BLOCK
            )
        divisor = counts.clamp(min=1) if mean else None
        ctx.save_for_backward(key, divisor)
        return (sums if divisor is None else sums / divisor).to(values.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        key, divisor = ctx.saved_tensors
        gradient = gradients[0] if divisor is None else gradients[0] / divisor
        return spread_reference.spread(gradient, key).to(gradients[0].dtype), None, None, None
