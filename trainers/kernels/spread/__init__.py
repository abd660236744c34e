"""From turns to tokens."""

from turngym.trainers.kernels.dispatch import dispatched
from turngym.trainers.kernels.spread import reference

__all__ = ["spread"]

spread = dispatched(reference.spread)
