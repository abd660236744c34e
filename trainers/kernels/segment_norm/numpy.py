"""Statistics by key on a CPU for small batches, whose cost is calls: one of NumPy costs a third of
one of torch.

Legend: n rows, M keys.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from turngym.trainers.kernels.segment_norm import reference
from turngym.trainers.kernels.segment_norm.reference import ROUNDING, Normed, NormRule

__all__ = ["SMALL", "segment_norm"]

SMALL = 16_384
"""Rows up to which this form is the faster one."""

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


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
    """`reference.segment_norm`, which does the work where there are many rows."""
    if key.shape[0] > SMALL:
        return reference.segment_norm(
            values, key, num_keys, rule, mask=mask, source=source, weight=weight
        )
    outside = None if mask is None or mask.all() else ~mask.numpy()
    x, share = values.detach().double().numpy(), _share(source, weight)
    keys, segments = key.numpy(), num_keys
    if outside is not None:  # these rows get a segment of their own, which nobody reads
        keys, segments = np.where(outside, num_keys, keys), num_keys + 1
    with np.errstate(all="ignore"):  # what is not finite shows in its own segment
        count = _sums(None, share, keys, segments)
        one = count == 1
        total = np.maximum(count, 1)
        mean = _sums(x, share, keys, segments) / total
        if rule.singleton == "raw":
            mean[one] = 0
        x = x - _of_row(mean, keys)
        squares = _sums(x * x, share, keys, segments)
        var = squares / (np.maximum(count - rule.ddof, 1) if rule.ddof else total)
        floor = np.maximum((var + mean * mean) * ROUNDING**2, rule.std_floor**2)
        flat = (var <= floor) & (count > 1)
        x *= _of_row(_factor(var, flat, one, rule), keys)
    kept = torch.ones_like(key, dtype=torch.bool) if outside is None else torch.from_numpy(~outside)
    if outside is not None:
        x[outside] = 0
    if rule.singleton == "drop":
        kept = kept & ~torch.from_numpy(one)[key.masked_fill(~kept, 0)]
    return Normed(
        values=torch.from_numpy(x.astype(np.float32)),
        kept=kept,
        singletons=torch.scalar_tensor(int(np.count_nonzero(one[:num_keys]))),
        flat=torch.scalar_tensor(int(np.count_nonzero(flat[:num_keys]))),
    )


def _sums(rows: Array | None, share: Array | None, keys: Array, segments: int) -> Array:
    """[M] sums of rows x share, or of share; one key for all rows needs no look-up."""
    both = share if rows is None else rows if share is None else rows * share
    if segments == 1:
        return np.array([keys.shape[0] if both is None else both.sum()])
    return np.bincount(keys, both, segments)


def _of_row(per_key: Array, keys: Array) -> Array:
    """[n] or [1] the value of each row's key."""
    return per_key if per_key.shape[0] == 1 else per_key[keys]


def _factor(var: Array, flat: Array, one: Array, rule: NormRule) -> Array:
    """[M] what centred values are multiplied by."""
    if rule.divide:
        factor, lone = 1 / (np.sqrt(var + rule.eps_inside) + rule.eps), 1 / (1 + rule.eps)
    else:
        factor, lone = np.ones_like(var), 1.0
    factor[flat] = 0
    factor[one] = lone if rule.singleton == "raw" else 0
    return factor


def _share(source: Tensor | None, weight: Tensor | None) -> Array | None:
    """[n] how often each row counts in the statistics; None: once."""
    if weight is None:
        return None if source is None or source.all() else source.double().numpy()
    share = weight.double() if source is None else weight.double().masked_fill(~source, 0)
    return share.numpy()
