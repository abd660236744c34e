"""The clipped policy loss on a GPU: value, statistics and gradient in one launch.

One program per turn, so that everything a turn knows is read once and nothing is added atomically:
the same bits every time. A turn-level ratio costs a second walk over the turn's log-probabilities,
which lie in the cache by then; a sequence-level ratio needs the turns' sums first, one more launch.

Legend: N tokens, K turns, B trajectories.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from turngym.trainers.kernels.turn_policy_loss.reference import (
    LOG_RATIO_LIMIT,
    LossRule,
    TokenTerms,
    TurnPolicyLoss,
    TurnTerms,
)

__all__ = ["BLOCK", "turn_policy_loss", "turn_policy_loss_kernel", "turn_sums_kernel"]

BLOCK = 512
"""Tokens that a program handles at a time."""

_LEVELS = {"token": 0, "turn": 1, "sequence": 2}
_KINDS = {"k1": 1, "k2": 2, "k3": 3}
_LIMIT = tl.constexpr(LOG_RATIO_LIMIT)


@triton.jit
def _one_minus_exp(x):
    """1 - exp(-x), exact near 0 where the plain difference is not."""
    series = x * (1 - x / 2 * (1 - x / 3 * (1 - x / 4 * (1 - x / 5 * (1 - x / 6)))))
    return tl.where(tl.abs(x) < 0.125, series, 1 - tl.exp(-x))


@triton.jit
def _k3(x):
    """exp(-x) - 1 + x, exact near 0."""
    series = x * x / 2 * (1 - x / 3 * (1 - x / 4 * (1 - x / 5 * (1 - x / 6 * (1 - x / 7)))))
    return tl.where(tl.abs(x) < 0.25, series, tl.exp(-x) - 1 + x)


@triton.jit
def _clamp(x, limit):
    return tl.minimum(tl.maximum(x, -limit), limit)


@triton.jit
def _delta(LOGPROBS, OTHER, offsets, keep):
    new = tl.load(LOGPROBS + offsets, mask=keep, other=0.0).to(tl.float32)
    old = tl.load(OTHER + offsets, mask=keep, other=0.0).to(tl.float32)
    return new - old


@triton.jit
def _log_ratios(LOGPROBS, OLD, MASK, first, length, BLOCK: tl.constexpr):
    """Sum of log-ratios and number of the trained tokens of one turn."""
    total = tl.zeros((BLOCK,), tl.float32)
    count = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, length, BLOCK):
        place = start + tl.arange(0, BLOCK)
        offsets = first + place
        keep = tl.load(MASK + offsets, mask=place < length, other=0) != 0
        total += _delta(LOGPROBS, OLD, offsets, keep)
        count += keep.to(tl.float32)
    return tl.sum(total), tl.sum(count)


@triton.jit
def _clip_terms(exponent, advantage, low, high, dual_clip, DUAL: tl.constexpr):
    """Loss, its slope by the log-probability, and where a clip cuts the slope to 0."""
    ratio = tl.exp(_clamp(exponent, _LIMIT))
    free = -advantage * ratio
    bounded = -advantage * tl.minimum(tl.maximum(ratio, low), high)
    cut = bounded > free
    loss = tl.where(cut, bounded, free)
    if DUAL:
        limit = -advantage * dual_clip
        over = (advantage < 0) & (loss > limit)
        loss = tl.where(over, limit, loss)
        cut = cut | over
    return loss, tl.where(cut | (tl.abs(exponent) > _LIMIT), 0.0, free), cut


@triton.jit
def _kl_terms(raw, KIND: tl.constexpr, K2_GRADIENT: tl.constexpr):
    """Estimate and its slope by the log-probability, from log-ratios to the reference."""
    delta = _clamp(raw, _LIMIT)
    penalty = delta
    slope = delta * 0 + 1
    if KIND == 2:
        penalty = delta * delta / 2
        slope = delta
    if KIND == 3:
        penalty = _k3(delta)
        slope = _one_minus_exp(delta)
    if K2_GRADIENT:
        slope = delta
    return penalty, tl.where(tl.abs(raw) > _LIMIT, 0.0, slope)


@triton.jit
def turn_sums_kernel(LOGPROBS, OLD, MASK, FIRST, LENGTH, SUMS, COUNTS, BLOCK: tl.constexpr):
    """[K] sum of log-ratios and number of trained tokens of each turn."""
    turn = tl.program_id(0).to(tl.int64)
    first, length = tl.load(FIRST + turn), tl.load(LENGTH + turn)
    total, count = _log_ratios(LOGPROBS, OLD, MASK, first, length, BLOCK)
    tl.store(SUMS + turn, total)
    tl.store(COUNTS + turn, count)


@triton.jit
def turn_policy_loss_kernel(
    LOGPROBS, OLD, MASK, TOKEN_ADVANTAGE, WEIGHT, REFERENCE, ENTROPY,  # [N]
    FIRST, LENGTH, ADVANTAGE, LOW, HIGH, SCALE, UNIT,  # [K]; UNIT: mean log-ratio of the sequence
    LOSS, TOKENS, LOG_RATIO, KL_OLD, KL_REFERENCE, CLIPPED,  # [K] results
    D_LOGPROBS, D_ENTROPY,  # [N] results
    dual_clip, kl_coef, entropy_coef,
    LEVEL: tl.constexpr, DUAL: tl.constexpr, KIND: tl.constexpr, K2_GRADIENT: tl.constexpr,
    HAS_ADVANTAGE: tl.constexpr, HAS_WEIGHT: tl.constexpr, HAS_REFERENCE: tl.constexpr,
    HAS_ENTROPY: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Everything about one turn."""
    turn = tl.program_id(0).to(tl.int64)
    first, length = tl.load(FIRST + turn), tl.load(LENGTH + turn)
    low, high = 1 - tl.load(LOW + turn), 1 + tl.load(HIGH + turn)
    scale, turn_advantage = tl.load(SCALE + turn), tl.load(ADVANTAGE + turn)
    unit = 0.0
    if LEVEL == 1:
        total, tokens = _log_ratios(LOGPROBS, OLD, MASK, first, length, BLOCK)
        unit = total / tl.maximum(tokens, 1.0)
    if LEVEL == 2:
        unit = tl.load(UNIT + turn)

    zeros = tl.zeros((BLOCK,), tl.float32)
    loss_sum, count, delta_sum, old_sum = zeros, zeros, zeros, zeros
    reference_sum, clipped_sum = zeros, zeros
    for start in range(0, length, BLOCK):
        place = start + tl.arange(0, BLOCK)
        offsets = first + place
        keep = tl.load(MASK + offsets, mask=place < length, other=0) != 0
        delta = _delta(LOGPROBS, OLD, offsets, keep)
        advantage = zeros + turn_advantage
        if HAS_ADVANTAGE:
            advantage = tl.load(TOKEN_ADVANTAGE + offsets, mask=keep, other=0.0).to(tl.float32)
        exponent = delta if LEVEL == 0 else zeros + unit
        loss, slope, cut = _clip_terms(exponent, advantage, low, high, dual_clip, DUAL)
        if HAS_WEIGHT:
            weight = tl.load(WEIGHT + offsets, mask=keep, other=0.0).to(tl.float32)
            loss, slope = weight * loss, weight * slope
        if HAS_REFERENCE:
            raw = _delta(LOGPROBS, REFERENCE, offsets, keep)
            penalty, climb = _kl_terms(raw, KIND, K2_GRADIENT)
            loss, slope = loss + kl_coef * penalty, slope + kl_coef * climb
            reference_sum += tl.where(keep, penalty, 0.0)
        if HAS_ENTROPY:
            loss -= entropy_coef * tl.load(ENTROPY + offsets, mask=keep, other=0.0).to(tl.float32)
            tl.store(D_ENTROPY + offsets, zeros - entropy_coef * scale, mask=keep)
        tl.store(D_LOGPROBS + offsets, scale * slope, mask=keep)
        loss_sum += tl.where(keep, scale * loss, 0.0)
        count += keep.to(tl.float32)
        delta_sum += delta
        old_sum += tl.where(keep, _k3(_clamp(delta, _LIMIT)), 0.0)
        clipped_sum += (cut & keep).to(tl.float32)

    tl.store(LOSS + turn, tl.sum(loss_sum))
    tl.store(TOKENS + turn, tl.sum(count))
    divisor = tl.maximum(tl.sum(count), 1.0)
    tl.store(LOG_RATIO + turn, tl.sum(delta_sum) / divisor)
    tl.store(KL_OLD + turn, tl.sum(old_sum) / divisor)
    tl.store(KL_REFERENCE + turn, tl.sum(reference_sum) / divisor)
    tl.store(CLIPPED + turn, tl.sum(clipped_sum) / divisor)


def turn_policy_loss(
    logprobs: Tensor,
    entropy: Tensor | None,
    tokens: TokenTerms,
    turns: TurnTerms,
    rule: LossRule,
) -> TurnPolicyLoss:
    """`reference.turn_policy_loss` in float32; gradients are made with the value."""
    apply: Any = _TurnPolicyLoss.apply
    value, *columns = apply(logprobs, entropy, tokens, turns, rule)
    count, log_ratio, kl_old, kl_reference, clipped = columns
    return TurnPolicyLoss(
        value=value,
        tokens=count,
        log_ratio=log_ratio,
        kl_old=kl_old,
        kl_reference=None if tokens.reference is None else kl_reference,
        clipped=clipped,
    )


class _TurnPolicyLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logprobs: Tensor,
        entropy: Tensor | None,
        tokens: TokenTerms,
        turns: TurnTerms,
        rule: LossRule,
    ) -> Any:
        num_turns = turns.advantage.shape[0]
        first, length = _token_spans(tokens.turn, num_turns)
        columns = [logprobs.new_empty(num_turns, dtype=torch.float32) for _ in range(6)]
        d_logprobs = torch.zeros_like(logprobs, dtype=torch.float32)
        d_entropy = None if entropy is None else torch.zeros_like(entropy, dtype=torch.float32)
        unit = None
        if rule.ratio == "sequence":
            unit = _sequence_means(logprobs, tokens, turns, first, length)
        if num_turns > 0:
            turn_policy_loss_kernel[(num_turns,)](
                logprobs.contiguous(),
                tokens.old,
                tokens.mask,
                tokens.advantage,
                tokens.weight,
                tokens.reference,
                None if entropy is None else entropy.contiguous(),
                first,
                length,
                turns.advantage,
                turns.low,
                turns.high,
                turns.scale,
                unit,
                *columns,
                d_logprobs,
                d_entropy,
                rule.dual_clip or 0.0,
                rule.kl_coef,
                rule.entropy_coef,
                LEVEL=_LEVELS[rule.ratio],
                DUAL=rule.dual_clip is not None,
                KIND=_KINDS[rule.kl],
                K2_GRADIENT=rule.kl_gradient == "k2",
                HAS_ADVANTAGE=tokens.advantage is not None,
                HAS_WEIGHT=tokens.weight is not None,
                HAS_REFERENCE=tokens.reference is not None,
                HAS_ENTROPY=entropy is not None,
                BLOCK=BLOCK,
            )
        ctx.save_for_backward(d_logprobs, d_entropy)
        ctx.dtypes = (logprobs.dtype, None if entropy is None else entropy.dtype)
        ctx.mark_non_differentiable(*columns[1:])
        ctx.set_materialize_grads(False)
        return columns[0].sum(), *columns[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        d_value = gradients[0]
        if d_value is None:
            return None, None, None, None, None
        scaled = [
            None if slope is None else (slope * d_value).to(dtype)
            for slope, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return (*scaled, None, None, None)


def _token_spans(turn: Tensor, num_turns: int) -> tuple[Tensor, Tensor]:
    """[K] int64 first token and number of tokens of each turn; they are adjacent."""
    ours = turn >= 0
    place = torch.arange(turn.shape[0], device=turn.device)
    slot = torch.where(ours, turn, num_turns)  # the last slot takes what is not ours
    first = torch.full((num_turns + 1,), turn.shape[0], dtype=torch.int64, device=turn.device)
    first.scatter_reduce_(0, slot, place, "amin")
    length = torch.zeros_like(first).index_add_(0, slot, torch.ones_like(slot))
    return first[:-1], length[:-1]


def _sequence_means(
    logprobs: Tensor, tokens: TokenTerms, turns: TurnTerms, first: Tensor, length: Tensor
) -> Tensor:
    """[K] mean log-ratio over all trained tokens of each turn's trajectory."""
    num_turns = turns.advantage.shape[0]
    sums, counts = logprobs.new_empty((2, num_turns), dtype=torch.float32)
    if num_turns > 0:
        turn_sums_kernel[(num_turns,)](
            logprobs.contiguous(), tokens.old, tokens.mask, first, length, sums, counts, BLOCK=BLOCK
        )
    # float64: whatever the order of the atomic additions, the float32 result has the same bits
    zeros = torch.zeros(turns.num_sequences, dtype=torch.float64, device=logprobs.device)
    totals = zeros.index_add(0, turns.sequence, sums.double())
    sizes = zeros.index_add(0, turns.sequence, counts.double()).clamp_min(1)
    return (totals / sizes).float()[turns.sequence]
