"""The clipped policy loss over ragged turns, forward and gradient in one pass."""

from turngym.trainers.kernels.dispatch import dispatched
from turngym.trainers.kernels.turn_policy_loss import reference
from turngym.trainers.kernels.turn_policy_loss.reference import (
    LOG_RATIO_LIMIT,
    KlEstimator,
    KlGradient,
    LossRule,
    RatioLevel,
    TokenTerms,
    TurnPolicyLoss,
    TurnTerms,
    kl_estimate,
)

__all__ = [
    "LOG_RATIO_LIMIT",
    "KlEstimator",
    "KlGradient",
    "LossRule",
    "RatioLevel",
    "TokenTerms",
    "TurnPolicyLoss",
    "TurnTerms",
    "kl_estimate",
    "turn_policy_loss",
]

turn_policy_loss = dispatched(reference.turn_policy_loss)
