"""Generalized advantage estimation over turns or over tokens."""

from turngym.trainers.kernels.dispatch import dispatched
from turngym.trainers.kernels.gae import reference
from turngym.trainers.kernels.gae.reference import Advantages

__all__ = ["Advantages", "gae"]

gae = dispatched(reference.gae)
