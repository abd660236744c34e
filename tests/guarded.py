"""Allocations with guard bands: writes out of bounds and elements never written show themselves.

Triton's interpreter runs programs one by one over plain memory, so a store beyond a buffer
silently hits its neighbour.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

BAND = 256
SENTINEL = -77


@contextmanager
def guarded_allocations(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.Tensor]]:
    """Within it, new tensors stand between guard bands, and empty ones hold NaN (or SENTINEL)."""
    whole: list[torch.Tensor] = []

    def allocate(shape, dtype, device, value):
        size = torch.Size([shape] if isinstance(shape, int) else shape)
        buffer = torch.full((size.numel() + 2 * BAND,), SENTINEL, dtype=dtype, device=device)
        whole.append(buffer)
        inner = buffer[BAND : BAND + size.numel()]
        if value is None:
            value = float("nan") if dtype.is_floating_point else SENTINEL
        return inner.fill_(value).view(size)

    def new_empty(self, size, *, dtype=None, device=None):
        return allocate(size, dtype or self.dtype, device or self.device, None)

    def empty_like(other, *, dtype=None):
        return allocate(other.shape, dtype or other.dtype, other.device, None)

    def zeros_like(other, *, dtype=None):
        return allocate(other.shape, dtype or other.dtype, other.device, 0)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "new_empty", new_empty)
        patch.setattr(torch, "empty_like", empty_like)
        patch.setattr(torch, "zeros_like", zeros_like)
        yield whole
    for buffer in whole:
        untouched = torch.tensor(SENTINEL).to(buffer)
        assert (buffer[:BAND] == untouched).all(), "a kernel wrote before its buffer"
        assert (buffer[-BAND:] == untouched).all(), "a kernel wrote behind its buffer"
