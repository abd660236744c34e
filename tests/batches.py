"""A compact builder of TurnBatch for tests: one Traj per trajectory, one list entry per turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from turngym.trainers.types import TurnBatch


@dataclass(frozen=True, kw_only=True)
class Traj:
    """One trajectory; `rewards` has one entry per turn, None where a turn has no reward."""

    group: int
    rewards: Sequence[float | None]
    outcome: float = 0.0
    tokens: Sequence[int] | None = None
    """Sampled tokens of each turn; None: 2."""
    exchange: Sequence[int] | None = None
    anchor: Sequence[int] | None = None
    counts: bool = True
    columns: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Turn columns by name."""


def make_batch(trajs: Sequence[Traj], *, gap: int = 1) -> TurnBatch:
    """The batch; before each turn lie `gap` tokens that were not sampled by us."""
    turn_of_token: list[int] = []
    cu_tokens, cu_turns = [0], [0]
    turns = 0
    for traj in trajs:
        for position in range(len(traj.rewards)):
            sampled = 2 if traj.tokens is None else traj.tokens[position]
            turn_of_token += [-1] * gap + [turns + position] * sampled
        turns += len(traj.rewards)
        cu_tokens.append(len(turn_of_token))
        cu_turns.append(turns)
    lengths = [len(traj.rewards) for traj in trajs]
    rewards = [reward for traj in trajs for reward in traj.rewards]
    anchors: dict[tuple[int, int], int] = {}
    for traj in trajs:
        for anchor in traj.anchor or range(len(traj.rewards)):
            anchors.setdefault((traj.group, anchor), len(anchors))
    names = sorted({name for traj in trajs for name in traj.columns})
    n = len(turn_of_token)
    num_groups = max((traj.group for traj in trajs), default=-1) + 1
    batch = TurnBatch(
        token_ids=torch.arange(n) % 7,
        turn_of_token=ints(turn_of_token),
        sampled_logprobs=torch.where(ints(turn_of_token) >= 0, -1.0, 0.0),
        cu_tokens=ints(cu_tokens),
        traj_of_segment=torch.arange(len(trajs)),
        traj_of_turn=ints([b for b, length in enumerate(lengths) for _ in range(length)]),
        cu_turns=ints(cu_turns),
        turn_index=ints([t for length in lengths for t in range(length)]),
        exchange_of_turn=ints([e for t in trajs for e in t.exchange or range(len(t.rewards))]),
        anchor_of_turn=ints(
            [anchors[t.group, a] for t in trajs for a in t.anchor or range(len(t.rewards))]
        ),
        turn_rewards=torch.tensor([reward or 0.0 for reward in rewards]),
        reward_mask=bools([reward is not None for reward in rewards]),
        loss_mask=torch.ones(turns, dtype=torch.bool),
        turn_status=torch.zeros(turns, dtype=torch.int8),
        temperature=torch.ones(turns),
        policy_version=torch.zeros(turns, dtype=torch.int64),
        group_of_traj=ints([traj.group for traj in trajs]),
        outcome=torch.tensor([traj.outcome for traj in trajs], dtype=torch.float32),
        success=bools([traj.outcome > 0 for traj in trajs]),
        truncated=torch.zeros(len(trajs), dtype=torch.bool),
        traj_mask=bools([traj.counts for traj in trajs]),
        num_groups=num_groups,
        max_turns=max(lengths, default=0),
        turn_columns={
            name: torch.tensor(
                [float(v) for t in trajs for v in t.columns.get(name, [0.0] * len(t.rewards))]
            )
            for name in names
        },
    )
    batch.validate()
    return batch


def ints(values: Sequence[int]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.int64)


def bools(values: Sequence[bool]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.bool)


def per_traj(batch: TurnBatch, values: Tensor) -> list[list[float]]:
    """[K] values as one list per trajectory."""
    return [part.tolist() for part in values.split(batch.cu_turns.diff().tolist())]
