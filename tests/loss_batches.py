"""Ragged batches for the loss and kernel tests, written as nested lists or drawn at random."""

from __future__ import annotations

import torch

from turngym.trainers.types import TurnBatch


def batch_of(turn_lengths, *, gap=1, groups=None) -> TurnBatch:
    """One segment per trajectory; before each turn come `gap` tokens that are not ours.

    Args:
        turn_lengths: per trajectory, the number of sampled tokens of each turn.
    """
    turn_of_token, cu_tokens, cu_turns, traj_of_turn, turn_index = [], [0], [0], [], []
    for traj, lengths in enumerate(turn_lengths):
        for index, length in enumerate(lengths):
            turn_of_token += [-1] * gap + [len(traj_of_turn)] * length
            traj_of_turn.append(traj)
            turn_index.append(index)
        cu_tokens.append(len(turn_of_token))
        cu_turns.append(len(traj_of_turn))
    num_tokens, num_turns, num_trajs = len(turn_of_token), len(traj_of_turn), len(turn_lengths)
    groups = list(range(num_trajs)) if groups is None else groups
    return TurnBatch(
        token_ids=torch.zeros(num_tokens, dtype=torch.int64),
        turn_of_token=torch.tensor(turn_of_token, dtype=torch.int64),
        sampled_logprobs=torch.zeros(num_tokens),
        cu_tokens=torch.tensor(cu_tokens),
        traj_of_segment=torch.arange(num_trajs),
        traj_of_turn=torch.tensor(traj_of_turn, dtype=torch.int64),
        cu_turns=torch.tensor(cu_turns),
        turn_index=torch.tensor(turn_index, dtype=torch.int64),
        exchange_of_turn=torch.tensor(turn_index, dtype=torch.int64),
        anchor_of_turn=torch.zeros(num_turns, dtype=torch.int64),
        turn_rewards=torch.zeros(num_turns),
        reward_mask=torch.ones(num_turns, dtype=torch.bool),
        loss_mask=torch.ones(num_turns, dtype=torch.bool),
        turn_status=torch.zeros(num_turns, dtype=torch.int8),
        temperature=torch.ones(num_turns),
        policy_version=torch.zeros(num_turns, dtype=torch.int64),
        group_of_traj=torch.tensor(groups, dtype=torch.int64),
        outcome=torch.zeros(num_trajs),
        success=torch.zeros(num_trajs, dtype=torch.bool),
        truncated=torch.zeros(num_trajs, dtype=torch.bool),
        traj_mask=torch.ones(num_trajs, dtype=torch.bool),
        num_groups=max(groups, default=-1) + 1,
        max_turns=max((len(lengths) for lengths in turn_lengths), default=0),
    )


def part_of(batch: TurnBatch, start: int, stop: int) -> tuple[TurnBatch, slice, slice]:
    """Trajectories start..stop-1 of a batch with one segment each, and its token and turn ranges."""
    tokens = slice(int(batch.cu_tokens[start]), int(batch.cu_tokens[stop]))
    turns = slice(int(batch.cu_turns[start]), int(batch.cu_turns[stop]))
    trajs = slice(start, stop)
    turn_of_token = batch.turn_of_token[tokens]
    columns = {
        name: getattr(batch, name)[turns]
        for name in (
            "turn_index",
            "exchange_of_turn",
            "anchor_of_turn",
            "turn_rewards",
            "reward_mask",
            "loss_mask",
            "turn_status",
            "temperature",
            "policy_version",
        )
    }
    part = TurnBatch(
        token_ids=batch.token_ids[tokens],
        turn_of_token=torch.where(turn_of_token < 0, turn_of_token, turn_of_token - turns.start),
        sampled_logprobs=batch.sampled_logprobs[tokens],
        old_logprobs=None if batch.old_logprobs is None else batch.old_logprobs[tokens],
        cu_tokens=batch.cu_tokens[start : stop + 1] - tokens.start,
        traj_of_segment=batch.traj_of_segment[trajs] - start,
        traj_of_turn=batch.traj_of_turn[turns] - start,
        cu_turns=batch.cu_turns[start : stop + 1] - turns.start,
        group_of_traj=batch.group_of_traj[trajs],
        outcome=batch.outcome[trajs],
        success=batch.success[trajs],
        truncated=batch.truncated[trajs],
        traj_mask=batch.traj_mask[trajs],
        num_groups=batch.num_groups,
        max_turns=max(int(batch.cu_turns[start : stop + 1].diff().max()), 0),
        token_columns={name: column[tokens] for name, column in batch.token_columns.items()},
        **columns,
    )
    return part, tokens, turns
