"""Estimators of the KL divergence as pure functions: value and form of the gradient.

Legend: N tokens.
"""

from __future__ import annotations

from torch import Tensor

from turngym.trainers.kernels.turn_policy_loss import KlGradient, kl_estimate

__all__ = ["k1", "k2", "k3"]


def k1(logprobs: Tensor, reference: Tensor, gradient: KlGradient = "own") -> Tensor:
    """[N] log p - log q: unbiased, high variance, can be negative; its mean gradient is 0."""
    return kl_estimate(logprobs - reference, "k1", gradient)


def k2(logprobs: Tensor, reference: Tensor) -> Tensor:
    """[N] (log p - log q)^2 / 2: biased value, but the gradient of KL(p, q) on policy."""
    return kl_estimate(logprobs - reference, "k2")


def k3(logprobs: Tensor, reference: Tensor, gradient: KlGradient = "own") -> Tensor:
    """[N] q/p - 1 - log(q/p): unbiased, never negative."""
    return kl_estimate(logprobs - reference, "k3", gradient)
