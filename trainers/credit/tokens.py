"""The token side of a batch, for methods that estimate per token.

Legend: N tokens, K turns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from turngym.trainers.credit.credit import norm_metrics, of_turn
from turngym.trainers.kernels.segment_norm import Normed, NormRule, segment_norm
from turngym.trainers.kernels.segment_sum import segment_mean, segment_sum
from turngym.trainers.kernels.spread import spread
from turngym.trainers.kernels.turn_credit import Norm
from turngym.trainers.types import Credit, TurnBatch

__all__ = [
    "WHITEN",
    "TokenView",
    "end_rewards",
    "token_credit",
    "token_view",
    "trained_tokens",
    "whiten_tokens",
    "whiten_turns",
    "whitening",
]

WHITEN = NormRule(ddof=1, eps=0.0, eps_inside=1e-8)
"""(x - mean) / sqrt(var + 1e-8) with unbiased variance, as `masked_whiten` of verl."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenView:
    """Sampled tokens of the trajectories that count, as rows in the order of the batch.

    On the CPU they are picked out once. Elsewhere every token stays a row, the others outside
    `mask`, because their number is not known without waiting for the device. Legend: n rows.
    """

    num_tokens: int
    """N of the batch."""
    place: Tensor | None
    """[n] int64: the token behind each row; None: row i is token i."""
    mask: Tensor | None
    """[n] bool: rows that exist; None: all. The others take no time and carry nothing."""
    turn: Tensor
    """[n] int64: its turn; read only inside the mask."""
    trained: Tensor | None
    """[n] bool: its turn is in the loss; None: all."""
    counts: Tensor
    """[K] int64: rows of each turn."""
    last: Tensor
    """[K] int64: the last row of each turn; n for a turn without rows."""
    has_rows: Tensor | None
    """[K] bool: turns with rows; None: all."""

    def rows(self, tokens: Tensor) -> Tensor:
        """[n] of a token column [N]."""
        return tokens if self.place is None else tokens.index_select(0, self.place)

    def tokens(self, rows: Tensor) -> Tensor:
        """[N] from [n], 0 where there is no row; `rows` are 0 outside the mask."""
        if self.place is None:
            return rows
        return rows.new_zeros(self.num_tokens).scatter_(0, self.place, rows)

    def of_turn(self, per_turn: Tensor) -> Tensor:
        """[n] the value of each row's turn, from [K]."""
        if self.mask is None:
            return per_turn.index_select(0, self.turn)
        return spread(per_turn, self.turn)

    def places(self) -> Tensor:
        """[n] int32: the number of each row inside the mask, from 1."""
        if self.mask is None:
            return torch.arange(1, self.turn.shape[0] + 1, dtype=torch.int32)
        return self.mask.cumsum(0, dtype=torch.int32)

    def on_last(self, per_turn: Tensor) -> Tensor:
        """[n] from [K]: the value on each turn's last row, 0 elsewhere."""
        rows = per_turn.new_zeros(self.turn.shape[0] + 1)
        rows[self.last] = per_turn
        return rows[:-1]

    def at_last(self, rows: Tensor) -> Tensor:
        """[K] the value of each turn's last row, 0 for a turn without rows."""
        return torch.cat([rows, rows.new_zeros(1)]).index_select(0, self.last)

    def turn_means(self, rows: Tensor) -> Tensor:
        """[K] mean of each turn's rows, 0 for a turn without rows."""
        if self.mask is not None:
            return segment_mean(rows, self.turn, self.counts.shape[0])
        # Here the rows of a turn lie together.
        sums = torch.segment_reduce(rows, "sum", lengths=self.counts, unsafe=True)
        return sums / self.counts.clamp(min=1)


def token_view(batch: TurnBatch) -> TokenView:
    """The rows of a batch."""
    return (_picked if batch.device.type == "cpu" else _masked)(batch)


def _picked(batch: TurnBatch) -> TokenView:
    table = batch if batch.sampled is not None else batch.with_table()
    place, counts = table.sampled, table.tokens_of_turn
    assert place is not None and counts is not None
    turn = torch.repeat_interleave(
        torch.arange(batch.num_turns), counts, output_size=place.shape[0]
    )
    if not bool(batch.traj_mask.all()):
        kept = batch.turn_mask.index_select(0, turn).nonzero().squeeze(1)
        place, turn = place.index_select(0, kept), turn.index_select(0, kept)
        counts = counts.masked_fill(~batch.turn_mask, 0)
    some = counts > 0
    return TokenView(
        num_tokens=batch.num_tokens,
        place=place,
        mask=None,
        turn=turn,
        trained=None if bool(batch.loss_mask.all()) else batch.loss_mask.index_select(0, turn),
        counts=counts,
        last=(counts.cumsum(0) - 1).masked_fill_(~some, turn.shape[0]),
        has_rows=None if bool(some.all()) else some,
    )


def _masked(batch: TurnBatch) -> TokenView:
    turn = batch.turn_of_token
    mask = spread(batch.turn_mask, turn)
    counts = segment_sum(mask.float(), turn, batch.num_turns).long()
    last = torch.searchsorted(mask.cumsum(0), counts.cumsum(0))
    return TokenView(
        num_tokens=batch.num_tokens,
        place=None,
        mask=mask,
        turn=turn,
        trained=spread(batch.loss_mask, turn),
        counts=counts,
        last=last.masked_fill(counts == 0, batch.num_tokens),
        has_rows=counts > 0,
    )


def end_rewards(batch: TurnBatch, view: TokenView, turn_reward_weight: float) -> Tensor:
    """[K] float32: what falls on each turn's last token; a turn without tokens gets 0.

    That is its turn reward, and the outcome where the trajectory has no token behind.
    """
    known = torch.where(batch.reward_mask, batch.turn_rewards, 0) * turn_reward_weight
    so_far = view.counts.cumsum(0)
    whole = torch.cat([so_far.new_zeros(1), so_far]).index_select(0, batch.cu_turns[1:])
    ends = so_far == of_turn(batch, whole)
    rewards = known + torch.where(ends, of_turn(batch, batch.outcome), 0)
    return torch.where(view.counts > 0, rewards, 0)


def token_credit(
    view: TokenView, rows: Tensor, normed: Normed, returns: Tensor | None = None
) -> Credit:
    """Credit of every token and, as the mean of its tokens, of every turn.

    Args:
        view: of the batch.
        rows: [n] advantages.
        normed: the statistics to report.
        returns: [n] targets of a value head.
    """
    return Credit(
        turn=view.turn_means(rows),
        token=view.tokens(rows),
        returns=None if returns is None else view.tokens(returns),
        metrics=norm_metrics({"batch": normed}),
    )


def trained_tokens(batch: TurnBatch) -> Tensor:
    """[K] float32 tokens of each turn that enter the loss, 0 for masked trajectories."""
    counts = batch.tokens_of_turn
    if counts is None:
        key = batch.turn_of_token
        counts = segment_sum(torch.ones(key.shape[0], device=key.device), key, batch.num_turns)
    return torch.where(batch.loss_mask & batch.turn_mask, counts, 0).float()


def whiten_tokens(rows: Tensor, view: TokenView) -> Normed:
    """[n] whitened by the statistics of the trained tokens of the whole batch."""
    key = view.turn.new_zeros(1).expand_as(view.turn)
    return segment_norm(rows, key, 1, WHITEN, mask=view.mask, source=view.trained)


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


def whitening(whiten: bool) -> Norm:
    """`whiten_turns` in a plan; its metrics are reported whether or not the values are used."""
    return Norm(name="batch", rule=WHITEN, scope="batch", share="trained", weight=float(whiten))
