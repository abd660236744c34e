"""Intervals and tests for comparing runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from turngym.trainers.intervals import Interval

__all__ = ["mean_interval", "sign_test", "student_t"]

# 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom (any table of statistics).
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


def student_t(degrees: int) -> float:
    """The two-sided 95 % quantile; above 30 degrees by the Cornish-Fisher expansion."""
    if degrees <= len(_T):
        return _T[degrees - 1]
    z = 1.959963984540054
    return z + (z**3 + z) / (4 * degrees)


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean with its 95 % interval by Student's t; unbounded for a single value.

    Raises:
        ValueError: no value.
    """
    if not values:
        raise ValueError("a mean needs at least one value")
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Interval(value=mean, low=-math.inf, high=math.inf)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    half = student_t(len(values) - 1) * math.sqrt(variance / len(values))
    return Interval(value=mean, low=mean - half, high=mean + half)


def sign_test(wins: int, losses: int) -> float:
    """Two-sided exact probability of so uneven a split of fair coin tosses; 1 without any."""
    total, few = wins + losses, min(wins, losses)
    if total == 0:
        return 1.0
    tail = sum(math.comb(total, k) for k in range(few + 1)) / (1 << total)
    return min(1.0, 2 * tail)
