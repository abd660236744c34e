"""What tests of kernels share: tolerances, comparison, poison."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["TOLERANCE", "assert_close", "poison"]

TOLERANCE = {
    torch.float64: 1e-9,
    torch.float32: 1e-5,
    torch.float16: 2e-3,
    torch.bfloat16: 1e-2,
}
"""Relative and absolute, by the dtype of the result; never loosened for a machine."""


def assert_close(actual: Tensor, expected: Tensor, tolerance: float | None = None) -> None:
    """Shape, dtype and device first, then where NaN and infinity lie, then the values.

    Raises:
        AssertionError: names the first of these that differs.
    """
    for name in ("shape", "dtype", "device"):
        got, wanted = getattr(actual, name), getattr(expected, name)
        if got != wanted:
            raise AssertionError(f"{name} is {got}, expected {wanted}")
    for name, test in (("NaN", torch.isnan), ("+inf", torch.isposinf), ("-inf", torch.isneginf)):
        wrong = (test(actual) != test(expected)).nonzero()
        if wrong.numel():
            raise AssertionError(f"{name} differs at {wrong[:5].tolist()}")
    bound = TOLERANCE.get(actual.dtype, 0.0) if tolerance is None else tolerance
    torch.testing.assert_close(actual, expected, rtol=bound, atol=bound, equal_nan=True)


def poison(values: Tensor, mask: Tensor) -> Tensor:
    """`values` with NaN where the mask is false: what must not matter, made to matter."""
    return torch.where(mask, values, torch.nan)
