"""Estimates with 95 % intervals that know which observations belong together; pass@k and pass^k.

Attempts at one task are no independent observations: an interval that counts them so is too narrow.
Here every interval is over tasks, and with one attempt per task it is the textbook one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Interval", "clustered_mean", "clustered_share", "pass_at", "pass_hat", "wilson"]

Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def wilson(successes: float, trials: float) -> Interval:
    """95 % interval of a share by Wilson's score method (JASA 22, 1927); 0 to 1 without trials.

    Args:
        successes: of the trials.
        trials: independent ones; a design effect makes both numbers fractional.
    """
    if trials == 0:
        return Interval(value=math.nan, low=0.0, high=1.0)
    share = successes / trials
    spread = Z95**2 / trials
    middle = (share + spread / 2) / (1 + spread)
    half = Z95 * math.sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    # Rounding may put a bound at 0 or 1 on the wrong side of the share.
    low, high = max(middle - half, 0.0), min(middle + half, 1.0)
    return Interval(value=share, low=min(low, share), high=max(high, share))


def clustered_share(tasks: Sequence[Sequence[float]], attempts: int | None = None) -> Interval:
    """The mean of values from 0 to 1 (solved or not, a probability) with Wilson's interval.

    Wilson's trials are share (1 - share) / variance, with the variance of the mean over clusters: the
    effective sample size of Korn and Graubard (Survey Methodology 24, 1998). One value per task gives
    Wilson's own interval. Where all values are equal, each task counts as one trial.

    Args:
        tasks: values of each task.
        attempts: most trials that the values can be worth; their number by default.
    """
    tasks = [values for values in tasks if values]
    count = sum(map(len, tasks))
    if not count:
        return wilson(0, 0)
    share = math.fsum(value for values in tasks for value in values) / count
    variance = _variance(tasks, share, count)
    spread = share * (1 - share)
    if variance > 0:
        trials = min(spread / variance, attempts or count)
    else:
        trials = float(len(tasks) if spread < 1e-12 else attempts or count)
    return wilson(share * trials, trials)


def clustered_mean(tasks: Sequence[Sequence[float]]) -> Interval:
    """The mean with a normal interval from the spread between tasks; unbounded for one task."""
    tasks = [values for values in tasks if values]
    count = sum(map(len, tasks))
    mean = math.fsum(value for values in tasks for value in values) / count if count else math.nan
    if len(tasks) < 2:
        return Interval(value=mean, low=-math.inf, high=math.inf)
    correction = len(tasks) / (len(tasks) - 1)
    half = Z95 * math.sqrt(_variance(tasks, mean, count) * correction)
    return Interval(value=mean, low=mean - half, high=mean + half)


def pass_at(k: int, attempts: int, solved: int) -> float:
    """Probability that of k attempts drawn from `attempts` at least one is solved.

    1 - C(attempts - solved, k) / C(attempts, k): the unbiased pass@k of arXiv 2107.03374.
    """
    return 1 - math.comb(attempts - solved, k) / math.comb(attempts, k)


def pass_hat(k: int, attempts: int, solved: int) -> float:
    """Probability that all of k attempts drawn from `attempts` are solved.

    C(solved, k) / C(attempts, k): the unbiased pass^k of arXiv 2406.12045.
    """
    return math.comb(solved, k) / math.comb(attempts, k)


def _variance(tasks: Sequence[Sequence[float]], mean: float, count: int) -> float:
    """Of the mean, from the sums of each task's deviations (linearised ratio estimate)."""
    sums = [math.fsum(value - mean for value in values) for values in tasks]
    return math.fsum(each * each for each in sums) / count**2
