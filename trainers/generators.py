"""The global generators, keyed: what draws from them draws the same numbers after a resume."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from turngym.seeding import derive

__all__ = ["keyed_generators"]


@contextmanager
def keyed_generators(*key: int | str) -> Iterator[None]:
    """Inside, the generators of Python, numpy and torch are those of `key`; outside, as before.

    Our own parts draw from generators of their own. Dropout and the parts of strangers do not, and
    this keeps a run a function of its settings and its checkpoint all the same.
    """
    seed = derive(*key)
    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
