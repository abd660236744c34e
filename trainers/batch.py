"""Trajectories -> TurnBatch, and the parts of a batch that one micro-batch needs.

Legend: N tokens, K turns, B trajectories, S segments.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from turngym.errors import DataError
from turngym.trainers.types import SIZE_OF_COLUMN, Credit, TurnBatch
from turngym.types import EpisodeStatus, Trajectory, Turn, TurnStatus

__all__ = ["collate", "take", "take_credit"]

_STATUS_INDEX = {status: index for index, status in enumerate(TurnStatus)}


def collate(trajectories: Sequence[Trajectory], *, trained: bool = True) -> TurnBatch:
    """All trajectories as one ragged batch on the CPU, in the given order.

    Episodes whose failure was not the agent's keep their rows, with `traj_mask` false.

    Args:
        trajectories: episodes.
        trained: whether the batch is for an optimizer; only then are ids and log-probabilities
            asked for. Turns without them can be credited all the same.

    Raises:
        DataError: a turn that counts has no sampled ids or no log-probabilities (a black-box
            endpoint can be evaluated, not trained).
    """
    columns = _Columns(trained=trained)
    for index, trajectory in enumerate(trajectories):
        columns.add(index, trajectory)
    return columns.batch(trajectories)


@dataclass(slots=True)
class _Columns:
    """The columns while they grow; flat arrays, so that a token costs bytes, not objects."""

    trained: bool
    token_ids: array[int] = field(default_factory=lambda: array("i"))
    turn_of_token: array[int] = field(default_factory=lambda: array("i"))
    logprobs: array[float] = field(default_factory=lambda: array("f"))
    cu_tokens: list[int] = field(default_factory=lambda: [0])
    traj_of_segment: list[int] = field(default_factory=list)
    cu_turns: list[int] = field(default_factory=lambda: [0])
    turns: list[Turn] = field(default_factory=list)
    anchors: list[int] = field(default_factory=list)
    anchor_ids: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, index: int, trajectory: Trajectory) -> None:
        """Append one trajectory."""
        for position, turn in enumerate(trajectory.turns):
            if self.trained:
                self._check(trajectory, position, turn)
            if turn.completion.opens_segment or position == 0:
                self._close_segment()
                self.traj_of_segment.append(index)
            self._add_tokens(turn)
            key = (trajectory.group, turn.anchor)
            self.anchors.append(self.anchor_ids.setdefault(key, len(self.anchor_ids)))
            self.turns.append(turn)
        self._close_segment()
        self.cu_turns.append(len(self.turns))

    def _add_tokens(self, turn: Turn) -> None:
        completion, turn_id = turn.completion, len(self.turns)
        prompt, reply = completion.new_prompt_ids, completion.reply_ids
        self.token_ids.extend(prompt)
        self.token_ids.extend(reply)
        self.turn_of_token.extend(array("i", [-1]) * len(prompt))
        self.turn_of_token.extend(array("i", [turn_id]) * len(reply))
        self.logprobs.extend(array("f", [0.0]) * len(prompt))
        self.logprobs.extend(completion.reply_logprobs or array("f", [0.0]) * len(reply))

    def _close_segment(self) -> None:
        if len(self.cu_tokens) <= len(self.traj_of_segment):
            self.cu_tokens.append(len(self.token_ids))

    @staticmethod
    def _check(trajectory: Trajectory, position: int, turn: Turn) -> None:
        completion = turn.completion
        if trajectory.status.counts and (
            not completion.trainable or len(completion.reply_logprobs) != len(completion.reply_ids)
        ):
            raise DataError(
                f"turn {position} of episode {trajectory.episode} has {len(completion.reply_ids)} "
                f"sampled ids and {len(completion.reply_logprobs)} log-probabilities: an agent "
                "that gives none (a black-box endpoint, a script) can be evaluated, not trained"
            )

    def batch(self, trajectories: Sequence[Trajectory]) -> TurnBatch:
        """The finished batch."""
        turns = self.turns
        counts = torch.tensor(self.cu_turns).diff()
        cu_turns = torch.tensor(self.cu_turns)
        traj_of_turn = torch.repeat_interleave(torch.arange(len(trajectories)), counts)
        turn_index = torch.arange(len(turns)) - cu_turns[:-1][traj_of_turn]
        groups: dict[str, int] = {}
        group_of_traj = [groups.setdefault(t.group, len(groups)) for t in trajectories]
        rewarded = [
            turn.reward is not None and turn.status is not TurnStatus.REWARD_MISSING
            for turn in turns
        ]
        return TurnBatch(
            token_ids=_ints(self.token_ids),
            turn_of_token=_ints(self.turn_of_token),
            sampled_logprobs=_floats(self.logprobs),
            cu_tokens=torch.tensor(self.cu_tokens),
            traj_of_segment=torch.tensor(self.traj_of_segment, dtype=torch.int64),
            traj_of_turn=traj_of_turn,
            cu_turns=cu_turns,
            turn_index=turn_index,
            # An environment may number its exchanges with gaps; keys of turns leave none.
            exchange_of_turn=_int_list([turn.exchange for turn in turns]).minimum(turn_index),
            anchor_of_turn=_int_list(self.anchors),
            turn_rewards=torch.tensor(
                [turn.reward if has else 0.0 for turn, has in zip(turns, rewarded, strict=True)],
                dtype=torch.float32,
            ),
            reward_mask=torch.tensor(rewarded, dtype=torch.bool),
            loss_mask=torch.tensor([t.completion.trainable for t in turns], dtype=torch.bool),
            turn_status=torch.tensor([_STATUS_INDEX[t.status] for t in turns], dtype=torch.int8),
            temperature=torch.tensor([t.completion.temperature for t in turns]),
            policy_version=_int_list([t.completion.policy_version for t in turns]),
            group_of_traj=_int_list(group_of_traj),
            outcome=torch.tensor([t.outcome or 0.0 for t in trajectories], dtype=torch.float32),
            success=torch.tensor([bool(t.success) for t in trajectories], dtype=torch.bool),
            truncated=torch.tensor(
                [t.status is EpisodeStatus.TRUNCATED for t in trajectories], dtype=torch.bool
            ),
            traj_mask=torch.tensor([t.status.counts for t in trajectories], dtype=torch.bool),
            num_groups=len(groups),
            max_turns=int(counts.max()) if len(trajectories) else 0,
        ).with_table()


def take(batch: TurnBatch, trajs: Tensor) -> tuple[TurnBatch, Tensor, Tensor]:
    """The sub-batch of some trajectories, with the token and turn rows it was made of.

    Args:
        batch: the whole batch.
        trajs: [b] int64, rising trajectory indices.

    Returns:
        The sub-batch (its groups keep their numbers), token rows [n] and turn rows [k].
    """
    kept = torch.zeros(batch.num_trajectories, dtype=torch.bool, device=batch.device)
    kept[trajs] = True
    segments = kept[batch.traj_of_segment].nonzero().squeeze(1)
    turns = kept[batch.traj_of_turn].nonzero().squeeze(1)
    lengths = batch.cu_tokens.diff()
    segment_of_token = torch.repeat_interleave(
        torch.arange(batch.num_segments, device=batch.device), lengths
    )
    tokens = kept[batch.traj_of_segment][segment_of_token].nonzero().squeeze(1)
    new_traj = torch.cumsum(kept, 0) - 1
    # One more row, so that -1 (not sampled by us) maps to itself.
    new_turn = torch.full((batch.num_turns + 1,), -1, dtype=torch.int64, device=batch.device)
    new_turn[turns] = torch.arange(turns.shape[0], device=batch.device)
    counts = batch.cu_turns.diff()[trajs]
    rows = {"N": tokens, "K": turns, "B": trajs}
    chosen: dict[str, Any] = {
        name: _rows(getattr(batch, name), rows[size]) for name, size in SIZE_OF_COLUMN.items()
    }
    # These three count turns, trajectories and states anew.
    chosen["turn_of_token"] = new_turn[batch.turn_of_token[tokens]]
    chosen["traj_of_turn"] = new_traj[batch.traj_of_turn[turns]]
    chosen["anchor_of_turn"] = torch.unique(chosen["anchor_of_turn"], return_inverse=True)[1]
    part = replace(
        batch,
        **chosen,
        cu_tokens=_offsets(lengths[segments]),
        traj_of_segment=new_traj[batch.traj_of_segment[segments]],
        cu_turns=_offsets(counts),
        max_turns=int(counts.max()) if counts.numel() else 0,
        sampled=None,
        traj_by_group=None,
        cu_groups=None,
        cu_traj_tokens=None,
        largest_group=0,
        token_columns=_columns(batch.token_columns, tokens),
        turn_columns=_columns(batch.turn_columns, turns),
        traj_columns=_columns(batch.traj_columns, trajs),
    )
    return part, tokens, turns


def take_credit(credit: Credit, tokens: Tensor, turns: Tensor, num_turns: int) -> Credit:
    """The rows of `credit` that belong to a sub-batch made by `take`.

    Args:
        credit: of the whole batch.
        tokens: [n] token rows.
        turns: [k] turn rows.
        num_turns: K of the whole batch, which tells turn-level returns from token-level ones.
    """
    returns = credit.returns
    if returns is not None:
        returns = returns[turns if returns.shape[0] == num_turns else tokens]
    return replace(
        credit,
        turn=credit.turn[turns],
        token=_rows(credit.token, tokens),
        clip_scale=_rows(credit.clip_scale, turns),
        weight=_rows(credit.weight, tokens),
        returns=returns,
    )


def _rows(column: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if column is None else column[rows]


def _columns(columns: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    return {name: column[rows] for name, column in columns.items()}


def _offsets(lengths: Tensor) -> Tensor:
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def _int_list(values: Sequence[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


def _ints(values: array[int]) -> Tensor:
    if not values:
        return torch.zeros(0, dtype=torch.int64)
    return torch.frombuffer(values, dtype=torch.int32).to(torch.int64)


def _floats(values: array[float]) -> Tensor:
    return torch.frombuffer(values, dtype=torch.float32).clone() if values else torch.zeros(0)
