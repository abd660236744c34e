"""Progress (SPA): an estimator whose contributions of single turns add up to the outcome.

    c_t = f_psi(last token of turn t),    L(psi) = mean_i (sum_t c_{i,t} - R_i)^2

Source: arXiv 2505.20732. The paper explores, fits the estimator once (`fit`), and lets it annotate
frozen: `start` names the fitted file and `learning_rate = 0` freezes it. The default is an online
variant: fitted to each rollout before it annotates it (`order = "update_first"`), or after. The
released code reads the word logits (`read_out = "logits"`).

Legend: K turns, B trajectories.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from turngym.errors import ConfigError
from turngym.seeding import derive
from turngym.trainers.batch import collate
from turngym.trainers.forward import micro_batches
from turngym.trainers.kernels.segment_sum import segment_sum
from turngym.trainers.signals.learner import Learner, LearnerConfig, ReadOut, ScalarModel
from turngym.trainers.signals.signal import Columns, Models, Order, Signal, signal
from turngym.trainers.types import Credit, TurnBatch
from turngym.types import Trajectory

__all__ = ["Progress", "ProgressConfig", "fit", "progress_loss", "redistributed", "turn_ends"]


class ProgressConfig(LearnerConfig):
    """Settings of the signal `progress`."""

    learning_rate: float = Field(default=3e-6, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    read_out: ReadOut = "hidden"
    passes: int = Field(default=1, ge=1)
    """Optimizer steps on each rollout."""
    start: Path | None = None
    """State that `fit` saved; None: the policy that the run starts from, with a fresh head."""
    order: Order = "update_first"
    exact: bool = False
    """Let the last turn make up for the estimator's error, so that contributions sum to the outcome.
    The paper does not, and a policy can then earn more from the estimator than from the task."""
    as_reward: bool = False
    """Also let the contributions be the turn rewards, for methods that read nothing else; one that
    adds the outcome itself would count it twice."""


def progress_loss(progress: Tensor, batch: TurnBatch) -> Tensor:
    """Scalar mean squared error of the summed contributions [K] against the outcome.

    Over the trajectories that count; one without turns predicts 0.
    """
    total = segment_sum(progress, batch.traj_of_turn, batch.num_trajectories)
    error = torch.where(batch.traj_mask, total - batch.outcome, 0.0)
    return error.square().sum() / batch.traj_mask.sum().clamp(min=1)


def redistributed(progress: Tensor, batch: TurnBatch) -> Tensor:
    """[K] contributions whose sum is exactly the outcome: the last turn takes the difference.

    Source: the return-equivalent redistribution of RUDDER, arXiv 1806.07857.
    """
    total = segment_sum(progress, batch.traj_of_turn, batch.num_trajectories)
    last = batch.turn_index == batch.cu_turns.diff()[batch.traj_of_turn] - 1
    return progress + torch.where(last, (batch.outcome - total)[batch.traj_of_turn], 0.0)


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
        model = ScalarModel(models.initial(), config.read_out)
        if config.start is not None:
            model.load_state_dict(_saved(config.start))
        self.learner = Learner(model, config)

    def columns(
        self, trajectories: Sequence[Trajectory], batch: TurnBatch, models: Models
    ) -> Columns:
        """Metric `error`: mean absolute error of the estimator's sums."""
        progress = torch.zeros(batch.num_turns, device=batch.device)
        with torch.no_grad():
            for part, _, turns in micro_batches(batch, models.max_tokens):
                progress[turns] = self._progress(part)
        total = segment_sum(progress, batch.traj_of_turn, batch.num_trajectories)
        gaps = (total - batch.outcome).abs()[batch.traj_mask]
        error = float(gaps.mean()) if gaps.numel() else 0.0
        if self.config.exact:
            progress = redistributed(progress, batch)
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
            if not counted or not self.config.learning_rate:
                break
            total = 0.0
            for part, _, _ in micro_batches(batch, models.max_tokens):
                share = int(part.traj_mask.sum()) / counted
                loss = progress_loss(self._progress(part), part) * share
                if loss.requires_grad:
                    loss.backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach())
            metrics = self.learner.step(total)
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Estimator and optimizer."""
        return self.learner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict()` in place."""
        self.learner.load_state_dict(state)

    def _progress(self, batch: TurnBatch) -> Tensor:
        rows, turns = turn_ends(batch)
        progress = torch.zeros(batch.num_turns, device=batch.device)
        found: Tensor = self.learner.model(batch, rows)
        return progress.index_copy(0, turns, found)


def fit(
    config: ProgressConfig,
    models: Models,
    trajectories: Sequence[Trajectory],
    path: Path,
    *,
    epochs: int = 1,
    batch_size: int = 16,
    seed: int = 0,
) -> list[float]:
    """Fit an estimator to explored trajectories and save it for `ProgressConfig.start`.

    Args:
        config: of the estimator.
        models: what it starts from; `policy` gives the device.
        trajectories: explored by the policy; those that broke teach nothing.
        path: the file to write.
        epochs: passes over all trajectories, each in another order.
        batch_size: trajectories of one optimizer step.
        seed: of the order.

    Returns:
        The mean loss of each epoch.
    """
    signal, losses = Progress(config, models), []
    counted = [each for each in trajectories if each.status.counts]
    for epoch in range(epochs):
        order = random.Random(derive(seed, "fit", epoch)).sample(counted, len(counted))
        parts = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
        found = [
            signal.update(part, collate(part).to(models.policy.device), None, models)["loss"]
            for part in parts
        ]
        losses.append(sum(found) / max(len(found), 1))
    torch.save(signal.state_dict(), path)
    return losses


def _saved(path: Path) -> Mapping[str, Any]:
    """The estimator's weights in a file that `fit` wrote."""
    try:
        weights: Mapping[str, Any] = torch.load(path, weights_only=True)["model"]
    except (OSError, KeyError, TypeError, UnpicklingError) as error:
        raise ConfigError(f"signals.progress.start: {path} holds no estimator: {error}") from error
    return weights
