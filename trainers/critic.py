"""The critic of the GAE methods: a model of its own, trained by the value loss.

It is the signal `values`, registered by its import path: it needs the losses, which come after the
signals.

Legend: N tokens, K turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from turngym.errors import UsageError
from turngym.trainers.batch import take_credit
from turngym.trainers.forward import micro_batches
from turngym.trainers.losses.denominators import Denominators, loss_tokens
from turngym.trainers.losses.value import ValueConfig, value_loss
from turngym.trainers.signals.learner import Learner, LearnerConfig, ScalarModel
from turngym.trainers.signals.signal import Columns, Models, Signal
from turngym.trainers.types import Credit, PolicyOutput, TurnBatch
from turngym.types import Trajectory

__all__ = ["Critic", "CriticConfig"]


class CriticConfig(LearnerConfig):
    """Settings of the signal `values`."""

    learning_rate: float = Field(default=1e-5, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    passes: int = Field(default=1, ge=1)
    """Optimizer steps on each rollout."""
    loss: ValueConfig = ValueConfig()


class Critic(Signal[CriticConfig]):
    """Columns `values`: over tokens, the value of the state before each sampled token; over turns,
    that before the turn's first one."""

    settings = CriticConfig
    learns_from_reader = True

    def __init__(self, config: CriticConfig, models: Models) -> None:
        super().__init__(config, models)
        self.learner = Learner(ScalarModel(models.initial()), config)

    def columns(
        self, trajectories: Sequence[Trajectory], batch: TurnBatch, models: Models
    ) -> Columns:
        """Metric `mean`: over the trained tokens."""
        values = torch.zeros(batch.num_tokens, device=batch.device)
        with torch.no_grad():
            for part, tokens, _ in micro_batches(batch, models.max_tokens):
                values[tokens] = self._values(part)
        mask = loss_tokens(batch)
        mean = float(values[mask].mean()) if bool(mask.any()) else 0.0
        return Columns(
            token={"values": values},
            turn={"values": _at_start(values, batch)},
            metrics={"mean": mean},
        )

    def update(
        self,
        trajectories: Sequence[Trajectory],
        batch: TurnBatch,
        credit: Credit | None,
        models: Models,
    ) -> Mapping[str, float]:
        """Regress on the credit's returns; metrics of the last pass.

        Raises:
            UsageError: the credit method gives no returns.
        """
        if credit is None or credit.returns is None:
            raise UsageError("the critic learns from the returns of a GAE method, and got none")
        denominators, metrics = Denominators.of(batch), dict[str, float]()
        for _ in range(self.config.passes):
            total = 0.0
            for part, tokens, turns in micro_batches(batch, models.max_tokens):
                if not bool(loss_tokens(part).any()):
                    continue
                output = PolicyOutput(logprobs=part.sampled_logprobs, values=self._values(part))
                target = take_credit(credit, tokens, turns, batch.num_turns)
                loss = value_loss(output, part, target, denominators, self.config.loss).value
                loss.backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach())
            metrics = self.learner.step(total)
        return {**metrics, "explained": _explained(batch, credit.returns)}

    def state_dict(self) -> dict[str, Any]:
        """Critic and optimizer."""
        return self.learner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict()` in place."""
        self.learner.load_state_dict(state)

    def _values(self, batch: TurnBatch) -> Tensor:
        """[N], 0 where nothing was sampled; the token before is the state."""
        rows = (batch.turn_of_token >= 0).nonzero().squeeze(1)
        values = torch.zeros(batch.num_tokens, device=batch.device)
        found: Tensor = self.learner.model(batch, rows - 1)
        return values.index_copy(0, rows, found)


def _at_start(values: Tensor, batch: TurnBatch) -> Tensor:
    """[K] the values [N] at each turn's first sampled token, 0 for a turn without tokens."""
    rows = (batch.turn_of_token >= 0).nonzero().squeeze(1)
    none = batch.num_tokens
    first = torch.full((batch.num_turns,), none, dtype=torch.int64, device=batch.device)
    first = first.scatter_reduce(0, batch.turn_of_token[rows], rows, "amin")
    return torch.cat([values, values.new_zeros(1)])[first]


def _explained(batch: TurnBatch, returns: Tensor) -> float:
    """1 - Var(R - V) / Var(R) over trained tokens: 1 is perfect, 0 no better than a constant."""
    mask = loss_tokens(batch)
    turn = batch.turn_of_token[mask]
    target = returns[mask] if returns.shape[0] == batch.num_tokens else returns[turn]
    spread = float(target.var(unbiased=False)) if target.numel() else 0.0
    if spread < 1e-12:
        return 0.0
    error = target - batch.token_columns["values"][mask]
    return 1 - float(error.var(unbiased=False)) / spread
