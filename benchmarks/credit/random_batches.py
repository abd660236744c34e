"""Random ragged batches: 4 to 20 turns, groups of 8, observations between the turns."""

from __future__ import annotations

from dataclasses import replace

import torch

from turngym.trainers.types import TurnBatch

GROUP = 8
STATES = 30


def random_batch(
    num_trajectories: int, max_tokens: int = 0, seed: int = 0, *, shortest: int = 4
) -> TurnBatch:
    """Trajectories of up to `max_tokens` tokens, some 43 % of them sampled; 0: one token per turn.

    The turns of a group fall on 40 states, so that its members meet in them, as in GiGPO's setting.
    """
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(shortest, 21, (num_trajectories,), generator=draw)
    cu_turns = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    num_turns = int(cu_turns[-1])
    traj = torch.repeat_interleave(torch.arange(num_trajectories), lengths)
    index = torch.arange(num_turns) - cu_turns[traj]
    states = torch.randint(0, 40, (num_turns,), generator=draw)
    if max_tokens:
        # a trajectory fills 1/2 to all of the row; each turn takes an equal share, 43 % sampled
        share = 0.5 + 0.5 * torch.rand(num_trajectories, generator=draw)
        per_turn = (share * max_tokens / lengths).floor().long()[traj]
        sampled = (0.43 * per_turn).long().clamp_min(1)
        gap = (per_turn - sampled).clamp_min(1)
    else:
        sampled, gap = torch.ones_like(traj), torch.zeros_like(traj)
    pieces = torch.stack([gap, sampled], 1).flatten()
    owner = torch.stack([torch.full_like(traj, -1), torch.arange(num_turns)], 1).flatten()
    turn_of_token = torch.repeat_interleave(owner, pieces)
    token_ends = (gap + sampled).cumsum(0)[cu_turns[1:] - 1]
    num_tokens = turn_of_token.shape[0]
    batch = TurnBatch(
        token_ids=torch.zeros(num_tokens, dtype=torch.int64),
        turn_of_token=turn_of_token,
        sampled_logprobs=torch.zeros(num_tokens),
        cu_tokens=torch.cat([token_ends.new_zeros(1), token_ends]),
        traj_of_segment=torch.arange(num_trajectories),
        traj_of_turn=traj,
        cu_turns=cu_turns,
        turn_index=index,
        exchange_of_turn=index,
        anchor_of_turn=torch.unique(traj // GROUP * 40 + states, return_inverse=True)[1],
        turn_rewards=torch.randn(num_turns, generator=draw),
        reward_mask=torch.ones(num_turns, dtype=torch.bool),
        loss_mask=torch.ones(num_turns, dtype=torch.bool),
        turn_status=torch.zeros(num_turns, dtype=torch.int8),
        temperature=torch.ones(num_turns),
        policy_version=torch.zeros(num_turns, dtype=torch.int64),
        group_of_traj=torch.arange(num_trajectories) // GROUP,
        outcome=torch.randn(num_trajectories, generator=draw),
        success=torch.zeros(num_trajectories, dtype=torch.bool),
        truncated=torch.zeros(num_trajectories, dtype=torch.bool),
        traj_mask=torch.ones(num_trajectories, dtype=torch.bool),
        num_groups=-(-num_trajectories // GROUP),
        max_turns=int(lengths.max()),
    )
    values = torch.randn(num_tokens, generator=draw)
    return replace(batch.with_table(), token_columns={"values": values})


def padded(batch: TurnBatch, column: torch.Tensor) -> torch.Tensor:
    """[B, T] a token column with one row per trajectory, zeros behind."""
    spans = batch.cu_tokens.tolist()
    rows = [column[a:b] for a, b in zip(spans[:-1], spans[1:], strict=True)]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
