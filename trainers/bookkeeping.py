"""From episodes, batches and credit to a ledger and back.

Legend: N tokens, K turns, B trajectories.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from turngym.errors import DataError
from turngym.trainers.batch import collate
from turngym.trainers.config import CreditSettings
from turngym.trainers.credit import CREDITS, credit_method
from turngym.trainers.credit.credit import Need
from turngym.trainers.ledger import Credited, Row, Rows
from turngym.trainers.types import Credit, TurnBatch
from turngym.types import Trajectory

__all__ = ["attach", "credit_again", "in_order", "ledger_of", "missing"]


def credit_again(
    trajectories: Sequence[Trajectory], chosen: CreditSettings, ledger: Iterable[Credited] = ()
) -> list[Credited]:
    """What a credit method makes of episodes, in the order of `in_order`.

    Args:
        trajectories: of one rollout; baselines are those of exactly these.
        chosen: the method and its settings.
        ledger: credit of the same episodes by the method of their run, whose signal columns serve
            this one, too.

    Raises:
        UnknownNameError, ConfigError: the method or its settings.
        UsageError: it needs a signal column that the ledger does not have; names the signal.
    """
    played = in_order(trajectories)
    batch = attach(collate(played, trained=False), played, ledger)
    return ledger_of(played, batch, credit_method(chosen)(batch), chosen)


def in_order(trajectories: Iterable[Trajectory]) -> list[Trajectory]:
    """By group and member, as a rollout gives them; a file has them in the order of their ends."""
    return sorted(trajectories, key=lambda t: [_number(part) for part in t.episode.split("/")])


def missing(needs: Iterable[Need], ledger: Sequence[Credited]) -> list[Need]:
    """The needs that the signal columns of a ledger do not meet."""
    have: set[tuple[str, str]] = set()
    if ledger:
        have = {("turn", name) for name in ledger[0].turn_columns}
        have |= {("token", name) for name in ledger[0].token_columns}
    return [need for need in needs if (need.level, need.column) not in have]


def attach(
    batch: TurnBatch, trajectories: Sequence[Trajectory], ledger: Iterable[Credited]
) -> TurnBatch:
    """The batch of these trajectories as the method of their run saw it: its rewards, outcomes and
    mask, and the signal columns. Without a ledger it stays as it is.

    Raises:
        DataError: an episode is not in the ledger.
    """
    by_episode = {row.episode: row for row in ledger}
    if not by_episode:
        return batch
    try:
        rows = [by_episode[trajectory.episode] for trajectory in trajectories]
    except KeyError as error:
        raise DataError(f"the ledger has no credit for episode {error}") from error
    rewards = _flat(row.rewards for row in rows)
    batch = replace(
        batch,
        outcome=torch.tensor([row.outcome for row in rows]),
        traj_mask=torch.tensor([row.counts for row in rows]),
        turn_rewards=rewards.nan_to_num(0.0),
        reward_mask=~rewards.isnan(),
    )
    ours = batch.turn_of_token >= 0
    turn = {name: _flat(row.turn_columns[name] for row in rows) for name in rows[0].turn_columns}
    token = {
        name: torch.zeros(batch.num_tokens).masked_scatter(
            ours, _flat(values for row in rows for values in row.token_columns[name])
        )
        for name in rows[0].token_columns
    }
    return batch.with_columns(turn=turn, token=token)


def ledger_of(
    trajectories: Sequence[Trajectory], batch: TurnBatch, credit: Credit, chosen: CreditSettings
) -> list[Credited]:
    """Credit and the columns it was made of, one row per trajectory of `batch`.

    Args:
        trajectories: in the order of the batch.
        batch: as the method saw it.
        credit: what it gave.
        chosen: the method and its settings.
    """
    method = CREDITS[chosen.method]
    needs = method.needs(method.parse(chosen.model_extra or {}))
    turn_columns = {n.column: batch.turn_columns[n.column] for n in needs if n.level == "turn"}
    token_columns = {n.column: batch.token_columns[n.column] for n in needs if n.level == "token"}
    of_turns, of_tokens = _Turns(batch), _Tokens(batch)
    turn = of_turns.split(credit.turn)
    scale = None if credit.clip_scale is None else of_turns.split(credit.clip_scale)
    token = None if credit.token is None else of_tokens.split(credit.token)
    weight = None if credit.weight is None else of_tokens.split(credit.weight)
    by_turn = {name: of_turns.split(column) for name, column in turn_columns.items()}
    by_token = {name: of_tokens.split(column) for name, column in token_columns.items()}
    rewards = of_turns.split(torch.where(batch.reward_mask, batch.turn_rewards, torch.nan))
    counts, outcomes = batch.traj_mask.tolist(), _numbers(batch.outcome)
    return [
        Credited(
            episode=trajectory.episode,
            method=method.name,
            counts=counts[index],
            outcome=outcomes[index],
            rewards=rewards[index],
            turn=turn[index],
            token=None if token is None else token[index],
            clip_scale=None if scale is None else scale[index],
            weight=None if weight is None else weight[index],
            turn_columns={name: rows[index] for name, rows in by_turn.items()},
            token_columns={name: rows[index] for name, rows in by_token.items()},
        )
        for index, trajectory in enumerate(trajectories)
    ]


class _Turns:
    """Cuts columns over turns into those of each trajectory."""

    def __init__(self, batch: TurnBatch) -> None:
        self.cuts = batch.cu_turns.tolist()

    def split(self, column: Tensor) -> list[Row]:
        """[B] rows of a [K] column."""
        values = _numbers(column)
        return [tuple(values[a:b]) for a, b in zip(self.cuts[:-1], self.cuts[1:], strict=True)]


class _Tokens:
    """Cuts columns over tokens into those of each trajectory's turns, sampled tokens alone."""

    def __init__(self, batch: TurnBatch) -> None:
        self.turns = _Turns(batch)
        self.ours = batch.turn_of_token >= 0
        self.counts = torch.bincount(
            batch.turn_of_token[self.ours], minlength=batch.num_turns
        ).tolist()

    def split(self, column: Tensor) -> list[Rows]:
        """[B] rows per turn of a [N] column."""
        values = iter(_numbers(column[self.ours]))
        by_turn = [tuple(next(values) for _ in range(count)) for count in self.counts]
        cuts = self.turns.cuts
        return [tuple(by_turn[a:b]) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]


def _numbers(column: Tensor) -> list[float]:
    """Its values with nine digits, from which float32 comes back bit by bit."""
    return [float(f"{value:.9g}") for value in column.float().tolist()]


def _flat(rows: Iterable[Row]) -> Tensor:
    return torch.tensor([value for row in rows for value in row], dtype=torch.float32)


def _number(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isdigit() else (-1, part)
