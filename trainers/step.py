"""One rollout's worth of learning: mini-batches, micro-batches, clipped AdamW steps.

Legend: N tokens, K turns, B trajectories.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from turngym.seeding import derive
from turngym.trainers.batch import take, take_credit
from turngym.trainers.config import TrainConfig
from turngym.trainers.losses import ClipConfig, Denominators, clip_loss
from turngym.trainers.losses.mismatch import mean_weight
from turngym.trainers.optimizer import PolicyOptimizer
from turngym.trainers.team import Team
from turngym.trainers.types import Credit, PolicyOutput, TurnBatch

__all__ = ["Update", "add_old_logprobs", "update"]


ALONE = Team()


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What one `update` did, averaged over its optimizer steps."""

    loss: float
    grad_norm: float
    skipped: int
    """Optimizer steps left out because loss or gradient were not finite."""
    metrics: Mapping[str, float]
    batch: TurnBatch
    """What was trained on, with `old_logprobs` where they were needed."""
    output: PolicyOutput
    """[N] of each token, right before the last optimizer step that used it."""


@torch.no_grad()
def add_old_logprobs(
    model: Any, batch: TurnBatch, max_tokens: int, team: Team = ALONE
) -> TurnBatch:
    """The batch with `old_logprobs` of the current weights, in one pass without gradients."""
    logprobs = torch.zeros_like(batch.sampled_logprobs)
    for part in team.parts(batch, max_tokens):
        output = team.policy_output(model, part.batch, entropy=False)
        if part.scale:
            logprobs[part.tokens] = output.logprobs
    return replace(batch, old_logprobs=team.total(logprobs))


def update(
    model: Any,
    optimizer: PolicyOptimizer,
    batch: TurnBatch,
    credit: Credit,
    config: TrainConfig,
    step: int,
    team: Team = ALONE,
) -> Update:
    """Train on one rollout and say what happened.

    Each mini-batch holds whole trajectories and makes one optimizer step with its own explicit
    denominators; how it is cut into forward passes changes neither loss nor gradient. A step whose
    loss or gradient is not finite is skipped.

    Args:
        model: policy in training.
        optimizer: its learning rate is already set.
        batch: on the model's device.
        credit: of the whole batch, made before it is split.
        config: epochs, mini-batches, loss.
        step: of the run; keys the order of trajectories.
        team: whose processes share the work; all hold the same batch and credit.
    """
    moves = config.mini_batches * config.epochs > 1
    if batch.old_logprobs is None and (moves or config.loss.mismatch is not None):
        batch = add_old_logprobs(model, batch, config.max_tokens_per_forward, team)
    logprobs = torch.zeros_like(batch.sampled_logprobs)
    entropy = torch.zeros_like(logprobs)
    done = []
    for rows in _order(batch, config, step):
        part, part_credit, tokens = _part(batch, credit, rows)
        one = _one(model, optimizer, part, part_credit, config, team)
        logprobs[tokens], entropy[tokens] = one.output.logprobs, _given(one.output.entropy)
        done.append(one)
    applied = [each for each in done if not each.skipped] or done
    names = sorted({name for each in applied for name in each.metrics})
    # Of the weights before this update, which are those that were sampled from or follow them.
    before = logprobs if batch.old_logprobs is None else batch.old_logprobs
    weight = {"importance_weight": mean_weight(batch, before)}
    return Update(
        loss=sum(each.loss for each in applied) / len(applied),
        grad_norm=sum(each.grad_norm for each in applied) / len(applied),
        skipped=sum(each.skipped for each in done),
        metrics=weight
        | {name: _mean([e.metrics[name] for e in applied if name in e.metrics]) for name in names},
        batch=batch,
        output=PolicyOutput(logprobs=logprobs, entropy=entropy),
    )


def _one(
    model: Any,
    optimizer: PolicyOptimizer,
    batch: TurnBatch,
    credit: Credit,
    config: TrainConfig,
    team: Team,
) -> Update:
    loss_config: ClipConfig = config.loss
    denominators = Denominators.of(batch)
    optimizer.zero_grad()
    total = torch.zeros((), dtype=torch.float64, device=batch.device)
    logprobs = torch.zeros_like(batch.sampled_logprobs)
    entropy = torch.zeros_like(batch.sampled_logprobs)
    for part in team.parts(batch, config.max_tokens_per_forward):
        output = team.policy_output(model, part.batch, entropy=True)
        part_credit = take_credit(credit, part.tokens, part.turns, batch.num_turns)
        loss = clip_loss(output, part.batch, part_credit, denominators, loss_config).value
        if loss.requires_grad:
            (loss * part.scale).backward()  # type: ignore[no-untyped-call]
        if part.scale:
            total += loss.detach()
            logprobs[part.tokens] = output.logprobs.detach()
            entropy[part.tokens] = _given(output.entropy).detach()
    logprobs, entropy = team.total(torch.stack([logprobs, entropy]))
    norm = optimizer.clip(config.optimizer.max_grad_norm)
    value = float(team.total(total))
    sound = math.isfinite(value) and math.isfinite(norm)
    if sound:
        optimizer.step()
    # The whole mini-batch once more without gradients: exact quantiles, whatever the split was.
    with torch.no_grad():
        output = PolicyOutput(logprobs=logprobs, entropy=entropy)
        metrics = dict(clip_loss(output, batch, credit, denominators, loss_config).metrics)
    metrics["entropy"] = float(entropy.sum()) / max(denominators.tokens, 1)
    return Update(
        loss=value,
        grad_norm=norm,
        skipped=int(not sound),
        metrics=metrics,
        batch=batch,
        output=output,
    )


def _order(batch: TurnBatch, config: TrainConfig, step: int) -> Iterator[Tensor]:
    """Trajectory rows of each mini-batch, every epoch in another order."""
    for epoch in range(config.epochs):
        rows = list(range(batch.num_trajectories))
        if config.mini_batches > 1:
            random.Random(derive(config.seed, "order", step, epoch)).shuffle(rows)
        size = math.ceil(len(rows) / config.mini_batches)
        for start in range(0, len(rows), size):
            yield torch.tensor(sorted(rows[start : start + size]), device=batch.device)


def _part(batch: TurnBatch, credit: Credit, rows: Tensor) -> tuple[TurnBatch, Credit, Tensor]:
    """The trajectories `rows` with their credit, and which tokens of `batch` are theirs."""
    if rows.shape[0] == batch.num_trajectories:
        return batch, credit, torch.arange(batch.num_tokens, device=batch.device)
    part, tokens, turns = take(batch, rows)
    return part, take_credit(credit, tokens, turns, batch.num_turns), tokens


def _given(entropy: Tensor | None) -> Tensor:
    assert entropy is not None  # asked for above
    return entropy


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
