"""Losses: (PolicyOutput, TurnBatch, Credit, Denominators, config) -> Loss."""

from turngym.trainers.losses.clip import ClipConfig, clip_loss, policy_terms
from turngym.trainers.losses.denominators import Aggregation, Denominators, loss_tokens
from turngym.trainers.losses.fused import ScoringPlan, fused_policy_loss, plan_scoring
from turngym.trainers.losses.mismatch import MismatchConfig, mismatch_weight
from turngym.trainers.losses.value import ValueConfig, value_loss

__all__ = [
    "Aggregation",
    "ClipConfig",
    "Denominators",
    "MismatchConfig",
    "ScoringPlan",
    "ValueConfig",
    "clip_loss",
    "fused_policy_loss",
    "loss_tokens",
    "mismatch_weight",
    "plan_scoring",
    "policy_terms",
    "value_loss",
]
