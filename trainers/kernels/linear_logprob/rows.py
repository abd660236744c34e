"""The two row operations, wherever the logits lie."""

from turngym.trainers.kernels.dispatch import dispatched
from turngym.trainers.kernels.linear_logprob import reference

__all__ = ["logit_gradients", "softmax_statistics"]

logit_gradients = dispatched(reference.logit_gradients)
softmax_statistics = dispatched(reference.softmax_statistics)
