"""Discounted sums of what is still to come, over turns or over tokens."""

from turngym.trainers.kernels.discounted_return import reference
from turngym.trainers.kernels.discounted_return.reference import Table
from turngym.trainers.kernels.dispatch import dispatched

__all__ = ["Table", "discounted_return"]

discounted_return = dispatched(reference.discounted_return)
