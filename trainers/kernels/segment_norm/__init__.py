"""Values centred and scaled by the statistics of the rows that share their key."""

from turngym.trainers.kernels.dispatch import dispatched
from turngym.trainers.kernels.segment_norm import numpy, reference
from turngym.trainers.kernels.segment_norm.reference import Normed, NormRule, Singleton

__all__ = ["NormRule", "Normed", "Singleton", "segment_norm"]

segment_norm = dispatched(reference.segment_norm, cpu=numpy.segment_norm)
