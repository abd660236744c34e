"""The clipped policy loss straight from hidden states: `clip_loss` in its second form.

Legend: N tokens, K turns, M trained tokens, H hidden size, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from turngym.errors import DataError
from turngym.trainers.kernels.linear_logprob import even_spans, linear_logprob, linear_objective
from turngym.trainers.kernels.turn_policy_loss import (
    RatioLevel,
    TurnPolicyLoss,
    turn_policy_loss,
)
from turngym.trainers.losses.clip import ClipConfig, clip_loss, policy_terms
from turngym.trainers.losses.denominators import Denominators, loss_tokens
from turngym.trainers.losses.metrics import loss_metrics
from turngym.trainers.types import Credit, Loss, PolicyOutput, TurnBatch

__all__ = ["LONGEST_CHUNK", "ScoringPlan", "fused_policy_loss", "plan_scoring"]

LONGEST_CHUNK = 4096
"""Tokens that one chunk holds at most when a turn must not be cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringPlan:
    """Which positions are scored, and in which pieces; made once per batch."""

    tokens: Tensor
    """[M] int64 trained tokens, rising."""
    temperature: Tensor | None
    """[M] what divides their logits; None: 1 everywhere."""
    spans: tuple[tuple[int, int], ...]
    """Pieces of 0..M."""
    one_pass: bool
    """No unit of a ratio is cut by a piece, so gradients can be made in the forward pass."""


def plan_scoring(batch: TurnBatch, ratio: RatioLevel, chunk: int = 1024) -> ScoringPlan:
    """The plan for `batch`; waits for the device, so make it once per batch.

    A turn's temperature divides its logits; 0 (greedy) counts as 1, as engines report
    log-probabilities then.
    Pieces hold about `chunk` tokens. With turn-level ratios they end at turn ends and one turn may
    fill up to `LONGEST_CHUNK` tokens; a longer one, or a sequence-level ratio, needs two passes.

    Raises:
        DataError: a trained token opens a segment, so that no position predicts it.
    """
    mask = loss_tokens(batch)
    openings = batch.cu_tokens[:-1][batch.cu_tokens.diff() > 0]
    if bool(mask[openings].any()):
        raise DataError(
            "a segment begins with a trained token, and no position predicts it: "
            "give every segment at least one prompt token"
        )
    tokens = mask.nonzero()[:, 0]
    turns = batch.turn_of_token[tokens]
    if ratio == "turn":
        lengths = torch.unique_consecutive(turns, return_counts=True)[1].tolist()
        spans, one_pass = _whole_turns(lengths, chunk), max(lengths, default=0) <= LONGEST_CHUNK
    else:
        spans, one_pass = tuple(even_spans(tokens.shape[0], chunk)), ratio == "token"
    warmth = torch.where(batch.temperature > 0, batch.temperature, 1.0)[turns]
    temperature = None if bool((warmth == 1).all()) else warmth
    return ScoringPlan(tokens=tokens, temperature=temperature, spans=spans, one_pass=one_pass)


def fused_policy_loss(
    hidden: Tensor,
    head: Tensor,
    batch: TurnBatch,
    credit: Credit,
    denominators: Denominators,
    config: ClipConfig,
    plan: ScoringPlan,
) -> Loss:
    """What `clip_loss` gives for the logits hidden head^T / temperature, without all logits.

    Where the plan allows, gradients are made in the forward pass (three matrix products of
    2 M H V operations instead of four); otherwise log-probabilities come from `linear_logprob`.
    Only trained tokens meet the head.

    Args:
        hidden: [N, H], position n speaks of the next token of its segment.
        head: [V, H].
        batch, credit, denominators, config: as for `clip_loss`.
        plan: `plan_scoring(batch, config.ratio)`.
    """
    rows, targets = plan.tokens - 1, batch.token_ids[plan.tokens]
    if not plan.one_pass:
        logprobs, entropy = linear_logprob(hidden, head, rows, targets, plan.temperature)
        output = PolicyOutput(
            logprobs=_spread(logprobs, plan.tokens, batch),
            entropy=_spread(entropy, plan.tokens, batch) if config.entropy_coef else None,
        )
        return clip_loss(output, batch, credit, denominators, config)
    tokens, turns, rule = policy_terms(batch, credit, denominators, config)
    trained = tokens.take(plan.tokens)
    parts: list[TurnPolicyLoss] = []

    def objective(logprobs: Tensor, entropy: Tensor | None, start: int, stop: int) -> Tensor:
        part = turn_policy_loss(logprobs, entropy, trained.span(start, stop), turns, rule)
        parts.append(part)
        return part.value

    value = linear_objective(
        hidden, head, rows, targets, plan.temperature, objective, plan.spans, rule.entropy_coef != 0
    )
    metrics = loss_metrics(_merged(parts), batch, denominators) if parts else {}
    return Loss(value=value, denominators=denominators.as_mapping(), metrics=metrics)


def _whole_turns(lengths: list[int], chunk: int) -> tuple[tuple[int, int], ...]:
    """Pieces of whole turns with about `chunk` tokens, for a ragged row of turns."""
    spans, start, stop = [], 0, 0
    for length in lengths:
        if stop > start and stop - start + length > chunk:
            spans.append((start, stop))
            start = stop
        stop += length
    return (*spans, (start, stop)) if stop > start else tuple(spans)


def _spread(values: Tensor, tokens: Tensor, batch: TurnBatch) -> Tensor:
    """[N] with `values` at `tokens` and 0 elsewhere."""
    return values.new_zeros(batch.num_tokens).index_put((tokens,), values)


def _merged(parts: list[TurnPolicyLoss]) -> TurnPolicyLoss:
    """One report from the reports of the pieces; a turn may stand in several."""
    tokens = torch.stack([part.tokens for part in parts])
    total = tokens.sum(0)

    def mean(columns: list[Tensor]) -> Tensor:
        return (torch.stack(columns) * tokens).sum(0) / total.clamp_min(1)

    reference = [part.kl_reference for part in parts if part.kl_reference is not None]
    return TurnPolicyLoss(
        value=torch.stack([part.value.detach() for part in parts]).sum(),
        tokens=total,
        log_ratio=mean([part.log_ratio for part in parts]),
        kl_old=mean([part.kl_old for part in parts]),
        kl_reference=mean(reference) if reference else None,
        clipped=mean([part.clipped for part in parts]),
    )
