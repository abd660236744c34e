"""PPO's clipped loss and its family, over turns.

Legend: N tokens, K turns, B trajectories.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from turngym.config import Config
from turngym.errors import ConfigError, UsageError
from turngym.trainers.kernels.turn_policy_loss import (
    KlEstimator,
    KlGradient,
    LossRule,
    RatioLevel,
    TokenTerms,
    TurnTerms,
    turn_policy_loss,
)
from turngym.trainers.losses.denominators import (
    Aggregation,
    Denominators,
    loss_tokens,
    turn_scale,
)
from turngym.trainers.losses.metrics import loss_metrics
from turngym.trainers.losses.mismatch import MismatchConfig, mismatch_weight
from turngym.trainers.types import Credit, Loss, PolicyOutput, TurnBatch

__all__ = ["REFERENCE_COLUMN", "ClipConfig", "clip_loss", "policy_terms"]

REFERENCE_COLUMN = "reference_logprobs"
"""Token column with the reference policy's log-probabilities, needed when `kl_coef` > 0."""


class ClipConfig(Config):
    """The clipped loss. DAPO: high 0.28, token-mean. GSPO: ratio sequence, low 3e-4, high 4e-4,
    seq-mean-token-mean. Dr.GRPO: seq-mean-token-sum-norm. A2TGPO: ratio turn, low 3e-3, high 4e-3,
    seq-mean-token-mean."""

    ratio: RatioLevel = "token"
    """The unit whose importance ratio is formed and clipped."""
    low: float = Field(default=0.2, ge=0, lt=1)
    """A ratio is clipped below 1 - low * clip_scale."""
    high: float = Field(default=0.2, ge=0)
    """A ratio is clipped above 1 + high * clip_scale."""
    dual_clip: float | None = Field(default=None, gt=1)
    """Bound c on the loss of negative advantages, -c A; None: no bound."""
    aggregation: Aggregation = "token-mean"
    """How token losses become one number."""
    fixed_length: int | None = Field(default=None, gt=0)
    """Tokens; the divisor of seq-mean-token-sum-norm."""
    kl_coef: float = Field(default=0.0, ge=0)
    """Weight of KL(policy, reference)."""
    kl: KlEstimator = "k3"
    """Estimator of that KL."""
    kl_gradient: KlGradient = "own"
    """`k2`: value of `kl`, gradient of k2, which is the gradient of the KL itself."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus."""
    mismatch: MismatchConfig | None = None
    """Importance weights between engine and trainer; None: all 1."""


def clip_loss(
    output: PolicyOutput,
    batch: TurnBatch,
    credit: Credit,
    denominators: Denominators,
    config: ClipConfig,
) -> Loss:
    """The clipped policy loss of `batch`, with KL and entropy terms where their weights say so.

    The formula stands at `kernels.turn_policy_loss`. `batch` may be a part of what `denominators`
    counts, if it holds whole trajectories: the losses of the parts then add up to the whole.

    Raises:
        ConfigError: the aggregation or the KL lacks its setting or column.
        UsageError: `entropy_coef` is set and `output` has no entropy.
    """
    if config.entropy_coef and output.entropy is None:
        raise UsageError("entropy_coef is not 0, but the policy output has no entropy")
    tokens, turns, rule = policy_terms(batch, credit, denominators, config)
    entropy = output.entropy if config.entropy_coef else None
    result = turn_policy_loss(output.logprobs, entropy, tokens, turns, rule)
    metrics = loss_metrics(result, batch, denominators)
    return Loss(value=result.value, denominators=denominators.as_mapping(), metrics=metrics)


def policy_terms(
    batch: TurnBatch, credit: Credit, denominators: Denominators, config: ClipConfig
) -> tuple[TokenTerms, TurnTerms, LossRule]:
    """Everything the loss knows before the policy speaks.

    Raises:
        ConfigError: the aggregation or the KL lacks its setting or column.
    """
    mask = loss_tokens(batch)
    tokens = TokenTerms(
        old=batch.sampled_logprobs if batch.old_logprobs is None else batch.old_logprobs,
        turn=batch.turn_of_token,
        mask=mask,
        advantage=credit.token,
        weight=_token_weight(batch, credit, config),
        reference=_reference(batch) if config.kl_coef else None,
    )
    scale = torch.ones_like(credit.turn) if credit.clip_scale is None else credit.clip_scale
    turns = TurnTerms(
        advantage=credit.turn,
        low=config.low * scale,
        high=config.high * scale,
        scale=turn_scale(batch, mask, denominators, config.aggregation, config.fixed_length),
        sequence=batch.traj_of_turn,
        num_sequences=batch.num_trajectories,
    )
    rule = LossRule(
        ratio=config.ratio,
        dual_clip=config.dual_clip,
        kl=config.kl,
        kl_gradient=config.kl_gradient,
        kl_coef=config.kl_coef,
        entropy_coef=config.entropy_coef,
    )
    return tokens, turns, rule


def _token_weight(batch: TurnBatch, credit: Credit, config: ClipConfig) -> Tensor | None:
    """[N] product of the credit's weight and the engine mismatch's; None: 1."""
    if config.mismatch is None:
        return credit.weight
    weight = mismatch_weight(batch, config.mismatch)
    return weight if credit.weight is None else weight * credit.weight


def _reference(batch: TurnBatch) -> Tensor:
    if REFERENCE_COLUMN not in batch.token_columns:
        raise ConfigError(
            f"kl_coef needs the token column {REFERENCE_COLUMN!r}; the batch has "
            f"{sorted(batch.token_columns) or 'no token columns'}: add the reference signal or "
            "set kl_coef to 0"
        )
    return batch.token_columns[REFERENCE_COLUMN]
