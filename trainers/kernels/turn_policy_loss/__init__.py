"""The clipped policy loss over ragged turns, forward and gradient in one pass."""

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
    turn_policy_loss,
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
