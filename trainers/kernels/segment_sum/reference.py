"""Sums and means of rows that share a key, such as the tokens of a turn.

Legend: n rows, M keys.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["segment_mean", "segment_sum"]


def segment_sum(values: Tensor, key: Tensor, num_keys: int) -> Tensor:
    """[M] sums of `values` by key, with gradient, in the dtype of `values`.

    Half precision is accumulated in float32. The order of addition is fixed on every device: one
    pass in row order on the CPU; elsewhere the rows are sorted by key (stable) and each run is
    reduced by one segmented reduction, because scattered atomic additions give other bits each run.

    Args:
        values: [n] floating.
        key: [n] int64 in -1..num_keys-1, in any order; rows with -1 are left out.
        num_keys: M.
    """
    wide = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    if values.device.type == "cpu":
        # Row 0 takes what is left out; whatever stands there, NaN included, is cut off.
        sums = wide.new_zeros(num_keys + 1).index_add(0, key + 1, wide)[1:]
    else:
        order = torch.argsort(key, stable=True)
        starts = torch.searchsorted(
            key[order], torch.arange(num_keys + 1, device=key.device), side="left"
        )
        sums = torch.segment_reduce(wide[order], "sum", offsets=starts, unsafe=True)
    return sums.to(values.dtype)


def segment_mean(values: Tensor, key: Tensor, num_keys: int) -> Tensor:
    """[M] means of `values` by key, 0 for a key without rows; otherwise as `segment_sum`."""
    counts = segment_sum(torch.ones_like(values, dtype=torch.float32), key, num_keys)
    return segment_sum(values, key, num_keys) / counts.clamp(min=1).to(values.dtype)
