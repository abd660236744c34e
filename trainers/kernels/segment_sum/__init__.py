"""Sums and means of rows that share a key."""

from turngym.trainers.kernels.dispatch import dispatched
from turngym.trainers.kernels.segment_sum import reference

__all__ = ["segment_mean", "segment_sum"]

segment_sum = dispatched(reference.segment_sum)
segment_mean = dispatched(reference.segment_mean)
