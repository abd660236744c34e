"""The two row operations, wherever the logits lie."""

from turngym.trainers.kernels.linear_logprob.reference import logit_gradients, softmax_statistics

__all__ = ["logit_gradients", "softmax_statistics"]
