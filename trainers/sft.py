"""Supervised fine-tuning on trajectories: the cold start of a policy, and RAFT on its own best ones.

A demonstration is a Trajectory like any other, whose reply ids come from a script instead of a
sampler (`turngym.agents.demonstrate`). Its loss is the mean negative log-likelihood of the reply
tokens; prompts and observations never enter.

Legend: N tokens, K turns, B trajectories.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from pydantic import Field

from turngym.config import Config
from turngym.errors import DataError
from turngym.seeding import derive
from turngym.trainers.batch import collate, take
from turngym.trainers.config import OptimizerConfig
from turngym.trainers.forward import micro_batches, policy_output
from turngym.trainers.losses import Denominators
from turngym.trainers.optimizer import PolicyOptimizer, learning_rate
from turngym.trainers.types import TurnBatch
from turngym.types import Trajectory

__all__ = ["SFTConfig", "best_of_groups", "sft"]


class SFTConfig(Config):
    """Supervised fine-tuning."""

    optimizer: OptimizerConfig = OptimizerConfig(
        learning_rate=3e-3, weight_decay=0.01, schedule="cosine", warmup_steps=30
    )
    steps: int = Field(default=2000, ge=1)
    batch_size: int = Field(default=32, ge=1)
    """Trajectories per step."""
    max_tokens_per_forward: int = Field(default=2048, ge=1)
    seed: int = 0


def sft(
    model: Any,
    trajectories: Sequence[Trajectory],
    config: SFTConfig,
    *,
    on_step: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Train `model` in place; gives the loss (nats per reply token) of each step.

    Trajectories whose failure was not the agent's are left out. Every epoch has its own order.

    Raises:
        DataError: no trajectory is left to learn from.
    """
    counted = [t for t in trajectories if t.status.counts and t.turns]
    if not counted:
        raise DataError(f"none of {len(trajectories)} trajectories can be learnt from")
    batch = collate(counted).to(next(model.parameters()).device)
    optimizer = PolicyOptimizer(model, config.optimizer)
    model.train()
    losses = []
    for step in range(config.steps):
        optimizer.set_rate(learning_rate(config.optimizer, step, config.steps))
        rows = torch.tensor(sorted(_rows(config, len(counted), step)), device=batch.device)
        losses.append(_step(model, optimizer, take(batch, rows)[0], config))
        if on_step is not None:
            on_step(step, losses[-1])
    model.eval()
    return losses


def best_of_groups(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """Each group's best trajectory, if it was solved: the data of RAFT (arXiv 2304.06767)."""
    best: dict[str, Trajectory] = {}
    for trajectory in trajectories:
        if not (trajectory.status.counts and trajectory.success):
            continue
        held = best.get(trajectory.group)
        if held is None or (trajectory.outcome or 0.0) > (held.outcome or 0.0):
            best[trajectory.group] = trajectory
    return list(best.values())


def _step(model: Any, optimizer: PolicyOptimizer, batch: TurnBatch, config: SFTConfig) -> float:
    tokens = max(Denominators.of(batch).tokens, 1)
    optimizer.zero_grad()
    total = 0.0
    for part, _, _ in micro_batches(batch, config.max_tokens_per_forward):
        loss = -policy_output(model, part).logprobs.sum() / tokens
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    optimizer.clip(config.optimizer.max_grad_norm)
    optimizer.step()
    return total


def _rows(config: SFTConfig, count: int, step: int) -> set[int]:
    """Trajectories of one step; a step that spans two epochs may hold one of them only once."""
    first = step * config.batch_size
    places = [divmod(index, count) for index in range(first, first + config.batch_size)]
    orders = {epoch: _order(config.seed, count, epoch) for epoch, _ in places}
    return {orders[epoch][place] for epoch, place in places}


@lru_cache(maxsize=2)
def _order(seed: int, count: int, epoch: int) -> list[int]:
    order = list(range(count))
    random.Random(derive(seed, "sft", epoch)).shuffle(order)
    return order
