"""Direct preference optimisation on stored episodes: a success before a failure of the same task.

    loss = mean over pairs of -log sigmoid(beta (g_w - g_l)),  g = sum over sampled tokens of
           log pi(token) - log pi_start(token)

A pair joins a solved and an unsolved episode of one group, which began alike. Only tokens that the
policy sampled count; prompts, observations and tool results never do (arXiv 2305.18290 over the
turns of an episode, as in 2406.14868, without its length normalisation).

Legend: N tokens, B trajectories, P pairs.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from turngym.config import Config
from turngym.errors import DataError
from turngym.seeding import derive
from turngym.trainers.batch import collate, take
from turngym.trainers.config import OptimizerConfig
from turngym.trainers.forward import micro_batches, policy_output
from turngym.trainers.losses.denominators import loss_tokens, traj_of_token
from turngym.trainers.optimizer import PolicyOptimizer, learning_rate
from turngym.trainers.signals.logprobs import score_tokens
from turngym.trainers.types import TurnBatch
from turngym.types import Trajectory

__all__ = ["DPOConfig", "DPOStep", "dpo", "dpo_loss", "pairs", "trajectory_logprobs"]

START = "start_logprobs"
"""Token column: log-probabilities of the policy before the first step."""


class DPOConfig(Config):
    """Settings of `dpo`."""

    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-4)
    beta: float = Field(default=0.1, gt=0)
    """How far the policy is held at its start: the loss is flat once beta times the gap is large."""
    epochs: int = Field(default=1, ge=1)
    """Passes over all groups that have a pair."""
    groups_per_step: int = Field(default=8, ge=1)
    max_tokens_per_forward: int = Field(default=2048, ge=1)
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DPOStep:
    """What one step reports, over its pairs and before its update."""

    loss: float
    margin: float
    """Mean of beta (g_w - g_l); 0 at the start."""
    accuracy: float
    """Share of pairs with g_w > g_l."""
    pairs: int
    grad_norm: float


def dpo(
    model: Any,
    trajectories: Sequence[Trajectory],
    config: DPOConfig,
    *,
    on_step: Callable[[int, int, DPOStep], None] | None = None,
) -> list[DPOStep]:
    """Train `model` in place and say what happened; its start is the reference.

    Args:
        model: the policy that played, or one like it.
        trajectories: with sampled ids; failures that are not the agent's are left out.
        config: beta, rate, epochs.
        on_step: called with the step, their number and the report.

    Raises:
        DataError: no group has both a success and a failure.
    """
    groups = _groups_with_pairs(trajectories)
    if not groups:
        raise DataError(
            f"no group of the {len(trajectories)} trajectories has both a solved and an unsolved "
            "episode: play several episodes per task (group_size) at a temperature above 0"
        )
    optimizer = PolicyOptimizer(model, config.optimizer)
    device = next(model.parameters()).device
    episodes = [t for group in groups for t in group]
    batch = collate(episodes).to(device)
    start = score_tokens(model, batch, config.max_tokens_per_forward).logprobs
    batch = batch.with_columns(token={START: start})
    plan = list(_plan(groups, config))
    steps = []
    for step, rows in enumerate(plan):
        optimizer.set_rate(learning_rate(config.optimizer, step, len(plan)))
        part, _, _ = take(batch, torch.tensor(rows, device=device))
        steps.append(_step(model, optimizer, part, config))
        if on_step is not None:
            on_step(step, len(plan), steps[-1])
    return steps


def pairs(batch: TurnBatch) -> tuple[Tensor, Tensor]:
    """[P] rows of solved and [P] of unsolved trajectories: every such pair of each group."""
    counts = batch.traj_mask & (batch.cu_turns.diff() > 0)
    together = batch.group_of_traj[:, None] == batch.group_of_traj[None, :]
    won, lost = counts & batch.success, counts & ~batch.success
    winner, loser = (together & won[:, None] & lost[None, :]).nonzero(as_tuple=True)
    return winner, loser


def dpo_loss(gains: Tensor, winner: Tensor, loser: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """The loss and the [P] margins beta (g_w - g_l).

    Args:
        gains: [B] log-probability of each trajectory's own tokens less that of the start.
        winner: [P] int64 rows.
        loser: [P] int64 rows.
        beta: scale.
    """
    margins = beta * (gains[winner] - gains[loser])
    return torch.nn.functional.softplus(-margins).mean(), margins


def trajectory_logprobs(logprobs: Tensor, batch: TurnBatch) -> Tensor:
    """[B] sum over each trajectory's trained tokens of `logprobs` [N]."""
    mask = loss_tokens(batch)
    zeros = torch.zeros(batch.num_trajectories, device=logprobs.device)
    return zeros.index_add(0, traj_of_token(batch)[mask], logprobs[mask])


def _step(model: Any, optimizer: PolicyOptimizer, batch: TurnBatch, config: DPOConfig) -> DPOStep:
    """Pairs join trajectories of different micro-batches: a first pass finds the derivative of the
    loss by each trajectory's log-probability, a second one carries it into the weights."""
    winner, loser = pairs(batch)
    now = score_tokens(model, batch, config.max_tokens_per_forward).logprobs
    gains = trajectory_logprobs(now - batch.token_columns[START], batch).requires_grad_(True)
    loss, margins = dpo_loss(gains, winner, loser, config.beta)
    (slope,) = torch.autograd.grad(loss, gains)
    of_token = torch.where(loss_tokens(batch), slope[traj_of_token(batch)], 0.0)
    optimizer.zero_grad()
    for part, tokens, _ in micro_batches(batch, config.max_tokens_per_forward):
        logprobs = policy_output(model, part).logprobs
        (logprobs * of_token[tokens]).sum().backward()  # type: ignore[no-untyped-call]
    norm = optimizer.clip(config.optimizer.max_grad_norm)
    if math.isfinite(float(loss.detach())) and math.isfinite(norm):
        optimizer.step()
    return DPOStep(
        loss=float(loss.detach()),
        margin=float(margins.detach().mean()),
        accuracy=float((margins > 0).float().mean()),
        pairs=winner.shape[0],
        grad_norm=norm,
    )


def _groups_with_pairs(trajectories: Sequence[Trajectory]) -> list[list[Trajectory]]:
    """Episodes that count, by what they started from; groups of several runs are kept apart."""
    groups: dict[tuple[str, ...], list[Trajectory]] = {}
    for each in trajectories:
        if each.status.counts and each.turns:
            key = (each.env_id, each.task_id, each.group, each.fingerprint)
            groups.setdefault(key, []).append(replace(each, group="/".join(key)))
    return [group for group in groups.values() if len({bool(t.success) for t in group}) == 2]


def _plan(groups: Sequence[Sequence[Trajectory]], config: DPOConfig) -> Iterator[list[int]]:
    """Rising rows of the episodes of each step; every epoch has its own order of groups."""
    ends = list(accumulate(len(group) for group in groups))
    rows = [range(end - len(group), end) for group, end in zip(groups, ends, strict=True)]
    for epoch in range(config.epochs):
        order = list(rows)
        random.Random(derive(config.seed, "dpo", epoch)).shuffle(order)
        for first in range(0, len(order), config.groups_per_step):
            chosen = order[first : first + config.groups_per_step]
            yield sorted(row for span in chosen for row in span)
