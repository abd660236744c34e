"""Implicit step rewards (OPRL, iStar): a language model learns which steps lead to success.

    r_{i,t} = beta sum_{tokens k of turn t} (log pi_phi - log pi_old)_k
    L(phi)  = mean over pairs (success i, failure j of one group) of softplus(-(Q_i - Q_j))

Q_i is the sum of r over the trajectory's turns. pi_old is the rolling snapshot that acted, phi starts
from the policy that the run started from. Each step phi is updated first and scores then.

Source: arXiv 2509.19199. `trajectory_value = "mean"` is the released code's mean over turns,
`order = "score_first"` its default order. Its detached gradient, which never reaches phi, is a
defect and not reproduced. A batch without a pair leaves phi and its optimizer as they are.

Legend: N tokens, K turns, B trajectories, P pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from turngym.trainers.forward import micro_batches, policy_output
from turngym.trainers.kernels.segment_sum import segment_mean, segment_sum
from turngym.trainers.signals.learner import Learner, LearnerConfig
from turngym.trainers.signals.logprobs import score_tokens
from turngym.trainers.signals.signal import Columns, Models, Order, Signal, signal
from turngym.trainers.types import Credit, TurnBatch
from turngym.types import Trajectory

__all__ = [
    "ImplicitReward",
    "ImplicitRewardConfig",
    "Pairwise",
    "pairwise",
    "step_rewards",
    "trajectory_values",
]

TrajectoryValue = Literal["sum", "mean"]


class ImplicitRewardConfig(LearnerConfig):
    """Settings of the signal `implicit_reward`."""

    beta: float = Field(default=0.05, gt=0)
    """Scale of the log-ratio."""
    trajectory_value: TrajectoryValue = "sum"
    """How the rewards of the turns become the Q that pairs compare."""
    order: Order = "update_first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairwise:
    """The pairwise objective on trajectory values."""

    loss: Tensor
    """Scalar with gradient; 0 without pairs."""
    pairs: int
    accuracy: float
    """Share of pairs whose success has the higher value."""


def step_rewards(logprobs: Tensor, old_logprobs: Tensor, batch: TurnBatch, beta: float) -> Tensor:
    """[K] float32 beta times the log-ratio summed over each turn's tokens.

    Args:
        logprobs: [N] of the reward model.
        old_logprobs: [N] of the policy that acted.
        batch: whose tokens these are.
        beta: scale.
    """
    return beta * segment_sum(logprobs - old_logprobs, batch.turn_of_token, batch.num_turns)


def trajectory_values(rewards: Tensor, batch: TurnBatch, how: TrajectoryValue) -> Tensor:
    """[B] sum or mean of the turns' rewards [K]."""
    reduce = segment_sum if how == "sum" else segment_mean
    return reduce(rewards, batch.traj_of_turn, batch.num_trajectories)


def pairwise(values: Tensor, batch: TurnBatch) -> Pairwise:
    """All success-failure pairs of each group, over trajectories that count and have turns.

    Args:
        values: [B] with gradient.
        batch: gives groups and successes.
    """
    counts = batch.traj_mask & (batch.cu_turns.diff() > 0)
    together = batch.group_of_traj[:, None] == batch.group_of_traj[None, :]
    won, lost = counts & batch.success, counts & ~batch.success
    winner, loser = (together & won[:, None] & lost[None, :]).nonzero(as_tuple=True)
    gap = values[winner] - values[loser]
    pairs = int(gap.shape[0])
    loss = torch.nn.functional.softplus(-gap).sum() / max(pairs, 1)
    accuracy = float((gap > 0).float().mean()) if pairs else 0.0
    return Pairwise(loss=loss, pairs=pairs, accuracy=accuracy)


@signal("implicit_reward")
class ImplicitReward(Signal[ImplicitRewardConfig]):
    """Turn column `step_reward`, from a reward model that is trained online."""

    settings = ImplicitRewardConfig
    requires = ("old_logprobs",)

    def __init__(self, config: ImplicitRewardConfig, models: Models) -> None:
        super().__init__(config, models)
        self.order = config.order
        self.learner = Learner(models.initial(), config)

    def columns(
        self, trajectories: Sequence[Trajectory], batch: TurnBatch, models: Models
    ) -> Columns:
        """Metric `step_reward`: mean over the turns that count."""
        rewards = self._rewards(batch, models.max_tokens)
        counted = rewards[batch.turn_mask]
        mean = float(counted.mean()) if counted.numel() else 0.0
        return Columns(turn={"step_reward": rewards}, metrics={"step_reward": mean})

    def update(
        self,
        trajectories: Sequence[Trajectory],
        batch: TurnBatch,
        credit: Credit | None,
        models: Models,
    ) -> Mapping[str, float]:
        """One optimizer step on the batch's pairs; metrics loss, pairs, accuracy, grad_norm.

        Pairs join trajectories of different micro-batches: a first pass finds the derivative of the
        loss by each trajectory's value, a second one carries it into the weights.
        """
        how = self.config.trajectory_value
        values = trajectory_values(self._rewards(batch, models.max_tokens), batch, how)
        found = pairwise(values.requires_grad_(True), batch)
        metrics = {"pairs": float(found.pairs), "accuracy": found.accuracy}
        if not found.pairs:
            return metrics
        (slope,) = torch.autograd.grad(found.loss, values)
        remaining = slope[batch.traj_of_turn]
        if how == "mean":
            remaining = remaining / batch.cu_turns.diff()[batch.traj_of_turn]
        for part, _, turns in micro_batches(batch, models.max_tokens):
            if not bool((remaining[turns] != 0).any()):
                continue
            logprobs = policy_output(self.learner.model, part).logprobs
            rewards = step_rewards(logprobs, _old(part), part, self.config.beta)
            (rewards * remaining[turns]).sum().backward()  # type: ignore[no-untyped-call]
        return {**metrics, **self.learner.step(float(found.loss.detach()))}

    def state_dict(self) -> dict[str, Any]:
        """Reward model and optimizer."""
        return self.learner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict()` in place."""
        self.learner.load_state_dict(state)

    def _rewards(self, batch: TurnBatch, max_tokens: int) -> Tensor:
        logprobs = score_tokens(self.learner.model, batch, max_tokens).logprobs
        return step_rewards(logprobs, _old(batch), batch, self.config.beta)


def _old(batch: TurnBatch) -> Tensor:
    assert batch.old_logprobs is not None, "the signal requires old_logprobs"
    return batch.old_logprobs
