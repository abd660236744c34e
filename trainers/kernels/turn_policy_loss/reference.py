"""The clipped policy loss over ragged turns: the definition that every faster form must equal.

Legend: N tokens, K turns, B trajectories.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor

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

RatioLevel = Literal["token", "turn", "sequence"]
KlEstimator = Literal["k1", "k2", "k3"]
KlGradient = Literal["own", "k2"]

LOG_RATIO_LIMIT = 20.0
"""Log-ratios are clamped to +-20 before `exp`; beyond it the gradient is 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRule:
    """The constants of the loss."""

    ratio: RatioLevel = "token"
    """The unit whose importance ratio is formed and clipped."""
    dual_clip: float | None = None
    """Bound c on the loss of a negative advantage, min(loss, -c A); None: no bound."""
    kl: KlEstimator = "k3"
    kl_gradient: KlGradient = "own"
    kl_coef: float = 0.0
    entropy_coef: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTerms:
    """What is known of each token before the update."""

    old: Tensor
    """[N] log-probabilities under the policy before the update."""
    turn: Tensor
    """[N] int64, -1 where the token was not sampled by us; tokens of one turn are adjacent."""
    mask: Tensor
    """[N] bool: tokens that are trained; the others have no value and no gradient."""
    advantage: Tensor | None = None
    """[N]; None: the token takes its turn's."""
    weight: Tensor | None = None
    """[N] factor on the surrogate, not on KL and entropy; None: 1."""
    reference: Tensor | None = None
    """[N] log-probabilities under the reference policy, for the KL term."""

    def span(self, start: int, stop: int) -> TokenTerms:
        """The terms of tokens start..stop-1."""
        return self._each(lambda column: column[start:stop])

    def take(self, tokens: Tensor) -> TokenTerms:
        """The terms of the tokens whose positions are given, [M] int64 rising."""
        return self._each(lambda column: column[tokens])

    def _each(self, change: Callable[[Tensor], Tensor]) -> TokenTerms:
        given = {item.name: getattr(self, item.name) for item in fields(self)}
        changed: dict[str, Any] = {
            name: None if column is None else change(column) for name, column in given.items()
        }
        return TokenTerms(**changed)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnTerms:
    """What is known of each turn before the update."""

    advantage: Tensor
    """[K]"""
    low: Tensor
    """[K] the ratio is clipped below 1 - low"""
    high: Tensor
    """[K] and above 1 + high."""
    scale: Tensor
    """[K] what a token of the turn is multiplied with: the aggregation with its denominator."""
    sequence: Tensor
    """[K] int64 in 0..num_sequences-1: the unit of a sequence-level ratio."""
    num_sequences: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnPolicyLoss:
    """The loss, and per turn what the metrics are made of (no gradient; 0 without tokens)."""

    value: Tensor
    """Scalar with gradient."""
    tokens: Tensor
    """[K] number of trained tokens."""
    log_ratio: Tensor
    """[K] mean log-ratio of the trained tokens."""
    kl_old: Tensor
    """[K] mean k3 estimate of KL(new, old)."""
    kl_reference: Tensor | None
    """[K] mean estimate of KL(new, reference); None without a reference."""
    clipped: Tensor
    """[K] fraction of the trained tokens whose gradient is cut by a clip."""


def turn_policy_loss(
    logprobs: Tensor,
    entropy: Tensor | None,
    tokens: TokenTerms,
    turns: TurnTerms,
    rule: LossRule,
) -> TurnPolicyLoss:
    """Sum over trained tokens of scale * (weight * clip loss + kl_coef * KL - entropy_coef * H).

    With r the ratio of the token's unit and A its advantage the clip loss is
    max(-A r, -A clip(r, 1 - low, 1 + high)), for A < 0 at most -c A (dual clip, arXiv 1912.09729).
    A turn's or sequence's ratio is the exponential of the mean log-ratio of its trained tokens
    (GSPO, arXiv 2507.18071; A2TGPO, arXiv 2605.06200, equation 10), and each token carries its own
    gradient scaled by that ratio (the GSPO-token form log p - sg(log p) + sg(mean)). That is the
    plain gradient where scale * weight * A is constant in the unit; where it is not, each token
    keeps its own credit.

    Args:
        logprobs: [N] with gradient.
        entropy: [N] with gradient, or None when `entropy_coef` is 0.
        tokens, turns, rule: see there.
    """
    mask, turn = tokens.mask, tokens.turn.clamp_min(0)
    delta = _masked(mask, logprobs - tokens.old)
    counts = _turn_sum(mask.to(delta.dtype), turn, turns)
    mean_delta = _turn_sum(delta.detach(), turn, turns) / counts.clamp_min(1)
    exponent = _exponent(delta, counts, mean_delta, turn, turns, rule.ratio)
    ratio = exponent.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()

    advantage = turns.advantage[turn] if tokens.advantage is None else tokens.advantage
    surrogate, cut = _clip_loss(
        ratio, advantage, 1 - turns.low[turn], 1 + turns.high[turn], rule.dual_clip
    )
    loss = surrogate if tokens.weight is None else tokens.weight * surrogate
    kl_reference = None
    if tokens.reference is not None:
        against = _masked(mask, logprobs - tokens.reference)
        penalty = kl_estimate(against, rule.kl, rule.kl_gradient)
        loss = loss + rule.kl_coef * penalty
        kl_reference = _turn_sum(penalty.detach(), turn, turns) / counts.clamp_min(1)
    if entropy is not None:
        loss = loss - rule.entropy_coef * entropy
    value = _masked(mask, turns.scale[turn] * loss).sum()

    kl_old = _turn_sum(kl_estimate(delta.detach(), "k3"), turn, turns)
    clipped = _turn_sum((cut & mask).to(delta.dtype), turn, turns)
    return TurnPolicyLoss(
        value=value,
        tokens=counts,
        log_ratio=mean_delta,
        kl_old=kl_old / counts.clamp_min(1),
        kl_reference=kl_reference,
        clipped=clipped / counts.clamp_min(1),
    )


def kl_estimate(delta: Tensor, kind: KlEstimator, gradient: KlGradient = "own") -> Tensor:
    """Estimate of KL(p, q) from delta = log p - log q at samples of p; same shape as `delta`.

    k1 = delta, k2 = delta^2 / 2, k3 = exp(-delta) + delta - 1 (Schulman, "Approximating KL
    divergence"); k1 and k3 are unbiased. Averaged over samples, the gradient of k1 is 0 and that of
    k3 belongs to the reverse direction; the gradient of k2 is the one of KL(p, q), so
    `gradient="k2"` keeps the value of `kind` and takes the gradient of k2 (straight through).
    """
    delta = delta.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    if kind == "k1":
        value = delta
    elif kind == "k2":
        value = delta.square() / 2
    else:
        value = torch.expm1(-delta) + delta
    if gradient == "own":
        return value
    half_square = delta.square() / 2
    return value.detach() + half_square - half_square.detach()


def _exponent(
    delta: Tensor,
    counts: Tensor,
    mean_delta: Tensor,
    turn: Tensor,
    turns: TurnTerms,
    level: RatioLevel,
) -> Tensor:
    """[N] log-ratio of each token's unit, with the token's own gradient."""
    if level == "token":
        return delta
    unit = mean_delta
    if level == "sequence":
        zeros = mean_delta.new_zeros(turns.num_sequences)
        sums = zeros.index_add(0, turns.sequence, mean_delta * counts)
        sizes = zeros.index_add(0, turns.sequence, counts)
        unit = (sums / sizes.clamp_min(1))[turns.sequence]
    return delta - delta.detach() + unit[turn]


def _clip_loss(
    ratio: Tensor, advantage: Tensor, floor: Tensor, ceiling: Tensor, dual_clip: float | None
) -> tuple[Tensor, Tensor]:
    """[N] loss, and [N] bool where a clip cuts the gradient."""
    free = -advantage * ratio
    bounded = -advantage * torch.minimum(torch.maximum(ratio, floor), ceiling).detach()
    cut = bounded > free
    loss = torch.where(cut, bounded, free)
    if dual_clip is not None:
        limit = -advantage * dual_clip
        over = (advantage < 0) & (loss > limit)
        loss, cut = torch.where(over, limit, loss), cut | over
    return loss, cut


def _masked(mask: Tensor, values: Tensor) -> Tensor:
    """`values` where `mask`, else 0 with no gradient, whatever stands there (NaN too)."""
    return torch.where(mask, values, torch.zeros((), dtype=values.dtype, device=values.device))


def _turn_sum(values: Tensor, turn: Tensor, turns: TurnTerms) -> Tensor:
    """[K] sums over the tokens of each turn; `values` is 0 where a token is not ours."""
    return values.new_zeros(turns.advantage.shape[0]).index_add(0, turn, values)
