"""Progress (SPA): an estimator whose contributions of single turns add up to the outcome.

    c_t = f_psi(last token of turn t),    L(psi) = mean_i (sum_t c_{i,t} - R_i)^2

Source: arXiv 2505.20732. The released code fits a copy of the policy with a linear head on the word
logits (`read_out = "logits"`) once, before reinforcement learning; here it is fitted to each
rollout before it annotates it (`order = "update_first"`), or after (`"score_first"`).
`fit_steps` stops that: with `optimizer.learning_rate` small until then this is the paper's pipeline.

Legend: K turns, B trajectories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from turngym.trainers.forward import micro_batches
from turngym.trainers.kernels.segment_sum import segment_sum
from turngym.trainers.signals.learner import Learner, LearnerConfig, ReadOut, ScalarModel
from turngym.trainers.signals.signal import Columns, Models, Order, Signal, signal
from turngym.trainers.types import Credit, TurnBatch
from turngym.types import Trajectory

__all__ = ["Progress", "ProgressConfig", "progress_loss", "turn_ends"]


class ProgressConfig(LearnerConfig):
    """Settings of the signal `progress`."""

    learning_rate: float = Field(default=3e-6, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    read_out: ReadOut = "hidden"
    passes: int = Field(default=1, ge=1)
    """Optimizer steps on each rollout."""
    fit_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps after which the estimator is frozen; None: it learns throughout."""
    order: Order = "update_first"
    as_reward: bool = False
    """Also let the contributions be the turn rewards, for methods that read nothing else."""


def progress_loss(progress: Tensor, batch: TurnBatch) -> Tensor:
    """Scalar mean squared error of the summed contributions [K] against the outcome.

    Over the trajectories that count; one without turns predicts 0.
    """
    total = segment_sum(progress, batch.traj_of_turn, batch.num_trajectories)
    error = torch.where(batch.traj_mask, total - batch.outcome, 0.0)
    return error.square().sum() / batch.traj_mask.sum().clamp(min=1)


def turn_ends(batch: TurnBatch) -> tuple[Tensor, Tensor]:
    """Token rows [k] of the last sampled token of each turn that has one, and those turns [k]."""
    rows = (batch.turn_of_token >= 0).nonzero().squeeze(1)
    owner = batch.turn_of_token[rows]
    last = torch.full((batch.num_turns,), -1, dtype=torch.int64, device=batch.device)
    last = last.scatter_reduce(0, owner, rows, "amax")
    turns = (last >= 0).nonzero().squeeze(1)
    return last[turns], turns


@signal("progress")
class Progress(Signal[ProgressConfig]):
    """Turn column `progress`, from an estimator that is fitted to outcomes."""

    settings = ProgressConfig

    def __init__(self, config: ProgressConfig, models: Models) -> None:
        super().__init__(config, models)
        self.order = config.order
        self.learner = Learner(ScalarModel(models.initial(), config.read_out), config)
        self.steps = 0

    def columns(
        self, trajectories: Sequence[Trajectory], batch: TurnBatch, models: Models
    ) -> Columns:
        """Metric `error`: mean absolute error of the sums."""
        progress = torch.zeros(batch.num_turns, device=batch.device)
        with torch.no_grad():
            for part, _, turns in micro_batches(batch, models.max_tokens):
                progress[turns] = self._progress(part)
        total = segment_sum(progress, batch.traj_of_turn, batch.num_trajectories)
        gaps = (total - batch.outcome).abs()[batch.traj_mask]
        error = float(gaps.mean()) if gaps.numel() else 0.0
        rewards = {"turn_rewards": progress, "reward_mask": torch.ones_like(progress).bool()}
        return Columns(
            turn={"progress": progress},
            replaced=rewards if self.config.as_reward else {},
            metrics={"error": error},
        )

    def update(
        self,
        trajectories: Sequence[Trajectory],
        batch: TurnBatch,
        credit: Credit | None,
        models: Models,
    ) -> Mapping[str, float]:
        """Fit to the batch's outcomes; metrics of the last pass: loss, grad_norm, skipped."""
        metrics: dict[str, float] = {}
        counted = int(batch.traj_mask.sum())
        for _ in range(self.config.passes):
            if not counted or self.steps == self.config.fit_steps:
                break
            total = 0.0
            for part, _, _ in micro_batches(batch, models.max_tokens):
                share = int(part.traj_mask.sum()) / counted
                loss = progress_loss(self._progress(part), part) * share
                if loss.requires_grad:
                    loss.backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach())
            metrics = self.learner.step(total)
            self.steps += 1
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Estimator, optimizer and number of steps."""
        return {**self.learner.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict()` in place."""
        self.learner.load_state_dict(state)
        self.steps = int(state["steps"])

    def _progress(self, batch: TurnBatch) -> Tensor:
        rows, turns = turn_ends(batch)
        progress = torch.zeros(batch.num_turns, device=batch.device)
        found: Tensor = self.learner.model(batch, rows)
        return progress.index_copy(0, turns, found)
