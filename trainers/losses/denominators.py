"""Aggregation: which tokens are trained, and what a sum over them is divided by.

Legend: N tokens, K turns, B trajectories.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor

from turngym.errors import ConfigError
from turngym.trainers.types import TurnBatch

__all__ = ["Aggregation", "Denominators", "loss_tokens", "traj_of_token", "turn_scale"]

Aggregation = Literal[
    "token-mean",
    "token-sum",
    "seq-mean-token-mean",
    "seq-mean-token-sum",
    "seq-mean-token-sum-norm",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Denominators:
    """Counts over the global batch of one optimizer step, taken before it is split.

    A part that holds whole trajectories then adds its share, so that splitting into micro-batches
    or over ranks changes neither value nor gradient of the sum.
    """

    tokens: int
    """Trained tokens."""
    trajectories: int
    """Trajectories with at least one trained token."""
    dropped: int
    """Tokens left out because a log-probability from before the update is not finite."""

    @classmethod
    def of(cls, batch: TurnBatch) -> Denominators:
        """The counts of `batch`; waits for the device once."""
        mask = loss_tokens(batch)
        per_traj = torch.bincount(traj_of_token(batch)[mask], minlength=batch.num_trajectories)
        trained = _trained_turns(batch)[batch.turn_of_token.clamp_min(0)]
        ours = trained & (batch.turn_of_token >= 0)
        tokens, trajectories, all_ours = torch.stack(
            [mask.sum(), (per_traj > 0).sum(), ours.sum()]
        ).tolist()
        return cls(tokens=tokens, trajectories=trajectories, dropped=all_ours - tokens)

    def as_mapping(self) -> Mapping[str, float]:
        """Names and counts, for `Loss.denominators`."""
        return {name: float(value) for name, value in asdict(self).items()}


def loss_tokens(batch: TurnBatch) -> Tensor:
    """[N] bool: tokens that enter value, gradient and denominators of a loss.

    They were sampled by us, their turn has loss_mask, their trajectory traj_mask, and the
    log-probabilities from before the update are finite.
    """
    trained = _trained_turns(batch)[batch.turn_of_token.clamp_min(0)]
    mask = trained & (batch.turn_of_token >= 0) & batch.sampled_logprobs.isfinite()
    if batch.old_logprobs is not None:
        mask = mask & batch.old_logprobs.isfinite()
    return mask


def traj_of_token(batch: TurnBatch) -> Tensor:
    """[N] int64: the trajectory of each token that is ours; meaningless where it is not."""
    return batch.traj_of_turn[batch.turn_of_token.clamp_min(0)]


def turn_scale(
    batch: TurnBatch,
    mask: Tensor,
    denominators: Denominators,
    aggregation: Aggregation,
    fixed_length: int | None = None,
) -> Tensor:
    """[K] float32: what the loss of one token of each turn is multiplied with before the sum.

    token-mean 1/tokens; token-sum 1; with S trajectories and n_b trained tokens in trajectory b
    seq-mean-token-sum 1/S, seq-mean-token-mean 1/(S n_b), seq-mean-token-sum-norm
    1/(S fixed_length), which is Dr.GRPO's constant (arXiv 2503.20783).

    Args:
        batch: whole trajectories, all or part of what `denominators` counts.
        mask: [N] bool from `loss_tokens`.
        denominators: of the global batch.
        aggregation: one of `Aggregation`.
        fixed_length: tokens, for seq-mean-token-sum-norm.

    Raises:
        ConfigError: seq-mean-token-sum-norm without `fixed_length`.
    """
    ones = torch.ones(batch.num_turns, dtype=torch.float32, device=batch.device)
    if aggregation == "token-sum":
        return ones
    if aggregation == "token-mean":
        return ones / max(denominators.tokens, 1)
    scale = ones / max(denominators.trajectories, 1)
    if aggregation == "seq-mean-token-sum-norm":
        if fixed_length is None:
            raise ConfigError(
                "aggregation 'seq-mean-token-sum-norm' divides by a fixed length: "
                "set fixed_length (tokens), such as the longest reply that is sampled"
            )
        return scale / fixed_length
    if aggregation == "seq-mean-token-mean":
        zeros = torch.zeros(batch.num_trajectories, dtype=torch.float32, device=batch.device)
        lengths = zeros.index_add(0, traj_of_token(batch), mask.to(torch.float32))
        return scale / lengths.clamp_min(1)[batch.traj_of_turn]
    return scale


def _trained_turns(batch: TurnBatch) -> Tensor:
    """[K] bool."""
    return batch.loss_mask & batch.turn_mask
