"""What an update did to single tokens, for a few trajectories of a step: RUN/details/.

Kept because recomputing it would need the weights of that moment; the advantages stand in RUN/credit
(`trainers.ledger`). Numbers have six significant digits; one trajectory is one line of JSON.

Legend: N tokens, K turns, B trajectories.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from turngym.trainers.config import TrainConfig
from turngym.trainers.kernels.turn_policy_loss import turn_policy_loss
from turngym.trainers.losses import Denominators, policy_terms
from turngym.trainers.step import Update
from turngym.trainers.types import Credit
from turngym.types import Trajectory

__all__ = ["DETAILS_FORMAT", "TrajectoryDetail", "TurnDetail", "details"]

DETAILS_FORMAT = 1

DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnDetail:
    """One turn; the lists have one entry per reply token."""

    low: float
    """The importance ratio is clipped below this,"""
    high: float
    """and above this."""
    clipped: float
    """Share of the trained tokens that clipping left without gradient, at the level of
    `loss.ratio`."""
    turn_ratio: float
    """exp(mean log-ratio of the trained tokens)."""
    trained: tuple[int, ...]
    """1 where the token entered the loss, 0 where a mask or a bad number kept it out."""
    ratio: tuple[float, ...]
    """exp(new - old log-probability) right before the last optimizer step that used the token."""
    entropy: tuple[float, ...]
    """Of the policy at the token, in nats."""
    weight: tuple[float, ...] | None
    """Factor on the token's loss: the method's own, times the engine mismatch's. None: 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrajectoryDetail:
    """One trajectory; `episode` finds it in the step's file under trajectories/."""

    episode: str
    turns: tuple[TurnDetail, ...]
    format_version: int = DETAILS_FORMAT


def details(
    trajectories: Sequence[Trajectory], credit: Credit, update: Update, config: TrainConfig
) -> list[TrajectoryDetail]:
    """The `details_per_step` trajectories with the largest credit of a turn, the largest first.

    Args:
        trajectories: of the step, in the order of the batch.
        credit: of the whole batch.
        update: what `trainers.step.update` gave back.
        config: of the run.
    """
    batch = update.batch
    if not config.details_per_step or not batch.num_turns:
        return []
    largest = torch.full((batch.num_trajectories,), -1.0, device=batch.device)
    largest = largest.scatter_reduce(0, batch.traj_of_turn, credit.turn.abs(), "amax")
    # Stable: of equal ones the first.
    rows = largest.argsort(descending=True, stable=True)[: config.details_per_step].tolist()
    columns = _Columns(credit, update, config)
    return [
        columns.trajectory(row, trajectories[row].episode)
        for row in rows
        if trajectories[row].turns and batch.traj_mask[row]
    ]


class _Columns:
    """The step's columns on the CPU, cut into turns."""

    def __init__(self, credit: Credit, update: Update, config: TrainConfig) -> None:
        batch = update.batch
        tokens, turns, rule = policy_terms(batch, credit, Denominators.of(batch), config.loss)
        assert update.output.entropy is not None
        rule = replace(rule, kl_coef=0.0, entropy_coef=0.0)
        with torch.no_grad():
            loss = turn_policy_loss(update.output.logprobs, None, tokens, turns, rule)
        self.cu_turns = batch.cu_turns.tolist()
        ours = (batch.turn_of_token >= 0).nonzero().squeeze(1)
        counts = torch.bincount(batch.turn_of_token[ours], minlength=batch.num_turns)
        self.ends = counts.cumsum(0).tolist()
        # Tokens of one turn lie together and turns in order, so that a turn is a slice of these.
        self.ratio = _column((update.output.logprobs - tokens.old).exp(), ours)
        self.entropy = _column(update.output.entropy, ours)
        self.trained = tokens.mask[ours].int().tolist()
        self.weight = _maybe(tokens.weight, ours)
        every = torch.arange(batch.num_turns, device=batch.device)
        self.clipped = _column(loss.clipped, every)
        self.turn_ratio = _column(loss.log_ratio.exp(), every)
        self.low, self.high = _column(1 - turns.low, every), _column(1 + turns.high, every)

    def trajectory(self, row: int, episode: str) -> TrajectoryDetail:
        """Everything about one trajectory."""
        start, stop = self.cu_turns[row], self.cu_turns[row + 1]
        return TrajectoryDetail(
            episode=episode,
            turns=tuple(self._turn(index) for index in range(start, stop)),
        )

    def _turn(self, index: int) -> TurnDetail:
        own = slice(self.ends[index - 1] if index else 0, self.ends[index])
        return TurnDetail(
            low=self.low[index],
            high=self.high[index],
            clipped=self.clipped[index],
            turn_ratio=self.turn_ratio[index],
            trained=tuple(self.trained[own]),
            ratio=tuple(self.ratio[own]),
            entropy=tuple(self.entropy[own]),
            weight=None if self.weight is None else tuple(self.weight[own]),
        )


def _maybe(column: Tensor | None, rows: Tensor) -> list[float] | None:
    return None if column is None else _column(column, rows)


def _column(column: Tensor, rows: Tensor) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in column[rows].tolist()]
