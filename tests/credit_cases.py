"""Batches and settings for tests of all credit methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from batches import Traj, bools, make_batch
from turngym.trainers.credit import (
    CREDITS,
)
from turngym.trainers.types import Credit, TurnBatch

METHODS = sorted(CREDITS)
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in METHODS),
    ("mapo", {"preset": "mica"}),
    ("mapo", {"preset": "released", "turn_key": "exchange"}),
    ("a2tgpo", {"preset": "released"}),
    ("igpo", {"norm": "joint"}),
    ("oprl", {"preset": "released"}),
    ("oprl", {"normalize": "leave_one_out"}),
    ("spa", {"preset": "released"}),
    ("spa", {"advantage": "return"}),
    ("gigpo", {"preset": "released", "norm": "mean_std"}),
    ("reinforce_pp", {"gamma": 0.9}),
    ("gae_token", {"time": "turn", "gamma": 0.9}),
]
TURN_COLUMNS = ("info_gain", "info_gain_mask", "step_reward", "progress", "grounding", "values")

number = st.integers(-8, 8).map(lambda n: n / 4)


@st.composite
def trajectory(draw: st.DrawFn, min_turns: int = 0, max_turns: int = 5) -> Traj:
    turns = draw(st.integers(min_turns, max_turns))

    def row(of: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(of, min_size=turns, max_size=turns))

    return Traj(
        group=draw(st.integers(0, 2)),
        rewards=row(st.one_of(st.none(), number)),
        outcome=draw(number),
        tokens=row(st.integers(1, 3)),
        exchange=[min(pair) for pair in enumerate(sorted(row(st.integers(0, max(turns - 1, 0)))))],
        anchor=row(st.integers(0, 3)),
        columns={
            **{name: row(number) for name in TURN_COLUMNS if "mask" not in name},
            "info_gain_mask": row(st.booleans()),
        },
    )


trajectories = st.lists(trajectory(), min_size=1, max_size=8)


def batch_of(trajs: Sequence[Traj], gap: int = 1) -> TurnBatch:
    """With every column that any method needs; token values are NaN where nobody may look."""
    batch = make_batch(trajs, gap=gap)
    columns = {n: batch.turn_columns.get(n, torch.zeros(batch.num_turns)) for n in TURN_COLUMNS}
    columns["info_gain_mask"] = columns["info_gain_mask"] > 0
    values = torch.cat([torch.full((1,), math.nan), columns["values"]])[batch.turn_of_token + 1]
    batch = replace(batch, num_groups=3, turn_columns=columns)
    return batch.with_columns(token={"values": values})


def run(name: str, options: dict[str, Any], batch: TurnBatch) -> Credit:
    return CREDITS[name](batch, CREDITS[name].parse(options))


def rows(batch: TurnBatch, made: Credit) -> list[list[float]]:
    """Per trajectory: its turns' advantages, clip factors and its sampled tokens' advantages."""
    result: list[list[float]] = []
    for b in range(batch.num_trajectories):
        start, end = batch.cu_turns[b], batch.cu_turns[b + 1]
        row = made.turn[start:end].tolist()
        if made.clip_scale is not None:
            row += made.clip_scale[start:end].tolist()
        if made.token is not None:
            inside = (batch.turn_of_token >= start) & (batch.turn_of_token < end)
            row += made.token[inside].tolist()
        result.append(row)
    return result


def close(got: list[list[float]], expected: list[list[float]]) -> None:
    assert [len(row) for row in got] == [len(row) for row in expected]
    for one, other in zip(got, expected, strict=True):
        assert one == pytest.approx(other, abs=2e-5)


BOTH = [
    Traj(
        group=g,
        rewards=[1.0, None, -1.0][: 3 - g],
        outcome=float(g == 0) + i,
        columns={name: [0.5, 0.25 * i, 1.0][: 3 - g] for name in TURN_COLUMNS},
    )
    for g in range(2)
    for i in range(3)
]


def columns_of(made: Credit) -> list[Tensor]:
    every = (made.turn, made.token, made.clip_scale, made.weight, made.returns)
    return [column for column in every if column is not None]


def big_batch(trajectories: int, turns: int) -> TurnBatch:
    generator = torch.Generator().manual_seed(0)
    k = trajectories * turns
    traj = torch.arange(trajectories)
    turn_of_token = torch.arange(k).repeat_interleave(2)
    turn_of_token[::5] = -1
    noise = {name: torch.randn(k, generator=generator) for name in TURN_COLUMNS}
    noise["info_gain_mask"] = noise["info_gain_mask"] > -1
    return TurnBatch(
        token_ids=torch.zeros(2 * k, dtype=torch.int64),
        turn_of_token=turn_of_token,
        sampled_logprobs=torch.zeros(2 * k),
        cu_tokens=torch.arange(trajectories + 1) * 2 * turns,
        traj_of_segment=traj,
        traj_of_turn=traj.repeat_interleave(turns),
        cu_turns=torch.arange(trajectories + 1) * turns,
        turn_index=torch.arange(turns).repeat(trajectories),
        exchange_of_turn=torch.arange(turns).repeat(trajectories),
        anchor_of_turn=torch.arange(k) // 64 * 32 + torch.randint(0, 32, (k,), generator=generator),
        turn_rewards=torch.randn(k, generator=generator),
        reward_mask=torch.rand(k, generator=generator) < 0.9,
        loss_mask=torch.ones(k, dtype=torch.bool),
        turn_status=torch.zeros(k, dtype=torch.int8),
        temperature=torch.ones(k),
        policy_version=torch.zeros(k, dtype=torch.int64),
        group_of_traj=traj // 8,
        outcome=torch.randn(trajectories, generator=generator),
        success=bools([True]).expand(trajectories),
        truncated=bools([False]).expand(trajectories),
        traj_mask=bools([True]).expand(trajectories),
        num_groups=(trajectories + 7) // 8,
        max_turns=turns,
        turn_columns=noise,
        token_columns={"values": torch.randn(2 * k, generator=generator)},
    )
