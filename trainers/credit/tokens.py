"""The token side of a batch, for methods that estimate per token.

Legend: N tokens, K turns, B trajectories.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from turngym.trainers.credit.credit import of_turn
from turngym.trainers.kernels.discounted_return.reference import next_steps
from turngym.trainers.kernels.segment_norm import Normed, NormRule, segment_norm
from turngym.trainers.kernels.segment_sum import segment_mean, segment_sum
from turngym.trainers.kernels.spread import spread
from turngym.trainers.types import TurnBatch

__all__ = [
    "WHITEN",
    "TokenView",
    "token_rewards",
    "token_view",
    "trained_tokens",
    "turn_means",
    "whiten_tokens",
    "whiten_turns",
]

WHITEN = NormRule(ddof=1, eps=0.0, eps_inside=1e-8)
"""(x - mean) / sqrt(var + 1e-8) with unbiased variance, as `masked_whiten` of verl."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenView:
    """Sampled tokens of the trajectories that count, and where they belong."""

    mask: Tensor
    """[N] bool: such a token; the others take no time and carry nothing."""
    trained: Tensor
    """[N] bool: its turn is in the loss, too."""
    turn: Tensor
    """[N] int64: its turn; read only inside the mask."""
    traj: Tensor
    """[N] int64: its trajectory; read only inside the mask."""
    turn_index: Tensor
    """[N] int64: number of the turn in its trajectory; read only inside the mask."""
    ends_turn: Tensor
    """[N] bool: the last such token of its turn."""
    ends_traj: Tensor
    """[N] bool: the last such token of its trajectory."""


def token_view(batch: TurnBatch) -> TokenView:
    """Where each token belongs."""
    turn_mask = batch.turn_mask
    mask = spread(turn_mask, batch.turn_of_token)
    traj = spread(batch.traj_of_turn, batch.turn_of_token)
    steps = next_steps(traj, mask)
    next_turn = torch.cat([batch.turn_of_token, traj.new_full((1,), -1)])[steps.following]
    return TokenView(
        mask=mask,
        trained=spread(turn_mask & batch.loss_mask, batch.turn_of_token),
        turn=batch.turn_of_token,
        traj=traj,
        turn_index=spread(batch.turn_index, batch.turn_of_token),
        ends_turn=mask & (next_turn != batch.turn_of_token),
        ends_traj=mask & ~steps.has_next,
    )


def token_rewards(batch: TurnBatch, view: TokenView, turn_reward_weight: float) -> Tensor:
    """[N] float32: turn rewards on each turn's last token, the outcome on the trajectory's last."""
    known = torch.where(batch.reward_mask, batch.turn_rewards, 0) * turn_reward_weight
    outcome = spread(of_turn(batch, batch.outcome), view.turn)
    rewards = torch.where(view.ends_turn, spread(known, view.turn), 0)
    return torch.where(view.mask, rewards + torch.where(view.ends_traj, outcome, 0), 0)


def trained_tokens(batch: TurnBatch) -> Tensor:
    """[K] float32 tokens of each turn that enter the loss, 0 for masked trajectories."""
    key = batch.turn_of_token
    ones = torch.ones(key.shape[0], device=key.device)
    counts = segment_sum(ones, key, batch.num_turns)
    return torch.where(batch.loss_mask & batch.turn_mask, counts, 0)


def whiten_tokens(values: Tensor, view: TokenView) -> Normed:
    """[N] whitened by the statistics of the trained tokens of the whole batch."""
    return segment_norm(
        values, torch.zeros_like(view.turn), 1, WHITEN, mask=view.mask, source=view.trained
    )


def whiten_turns(values: Tensor, batch: TurnBatch, tokens: Tensor | None = None) -> Normed:
    """[K] whitened over the batch's trained turns; with `tokens` each counts so many times."""
    return segment_norm(
        values,
        torch.zeros_like(batch.traj_of_turn),
        1,
        WHITEN,
        mask=batch.turn_mask,
        source=batch.loss_mask,
        weight=tokens,
    )


def turn_means(batch: TurnBatch, values: Tensor) -> Tensor:
    """[K] mean of each turn's tokens, 0 for a turn without tokens."""
    return segment_mean(values, batch.turn_of_token, batch.num_turns)
