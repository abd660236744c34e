"""What holds for every credit method."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from batches import Traj
from credit_cases import (
    BOTH,
    TURN_COLUMNS,
    VARIANTS,
    batch_of,
    big_batch,
    close,
    columns_of,
    rows,
    run,
    trajectories,
    trajectory,
)
from turngym.trainers.kernels.testing import assert_close


@pytest.mark.parametrize(("name", "options"), VARIANTS)
class TestEveryMethod:
    @settings(deadline=None, max_examples=10)
    @given(trajs=trajectories, data=st.data())
    def test_order_of_trajectories_does_not_matter(self, name, options, trajs, data):
        order = data.draw(st.permutations(range(len(trajs))))
        first = batch_of(trajs)
        second = batch_of([trajs[i] for i in order])
        one, other = (
            rows(first, run(name, options, first)),
            rows(second, run(name, options, second)),
        )
        close(other, [one[i] for i in order])

    @settings(deadline=None, max_examples=10)
    @given(trajs=trajectories, gap=st.integers(0, 3))
    def test_observation_tokens_do_not_matter(self, name, options, trajs, gap):
        one, other = batch_of(trajs), batch_of(trajs, gap=gap)
        close(rows(other, run(name, options, other)), rows(one, run(name, options, one)))

    @settings(deadline=None, max_examples=12)
    @given(trajs=trajectories, extra=trajectory(1), at=st.integers(0, 8))
    def test_masked_trajectories_change_nothing(self, name, options, trajs, extra, at):
        at = min(at, len(trajs))
        bad = replace(
            extra,
            counts=False,
            outcome=math.nan,
            columns={
                column: [1.0 if "mask" in column else math.nan for _ in extra.rewards]
                for column in extra.columns
            },
        )
        without = batch_of(trajs)
        with_bad = batch_of([*trajs[:at], bad, *trajs[at:]])
        made = run(name, options, with_bad)
        got = rows(with_bad, made)
        assert all(value in (0, 1) for value in got.pop(at))  # 1: the clip factor
        close(got, rows(without, run(name, options, without)))
        assert all(bool(column.isfinite().all()) for column in columns_of(made))

    @settings(deadline=None, max_examples=10)
    @given(trajs=trajectories)
    def test_what_a_mask_hides_is_not_read(self, name, options, trajs):
        batch = batch_of(trajs)
        gains = batch.turn_columns
        hidden = replace(
            batch,
            turn_rewards=torch.where(batch.reward_mask, batch.turn_rewards, math.nan),
        ).with_columns(
            turn={"info_gain": torch.where(gains["info_gain_mask"], gains["info_gain"], math.nan)}
        )
        one, other = run(name, options, batch), run(name, options, hidden)
        for got, expected in zip(columns_of(other), columns_of(one), strict=True):
            assert_close(got, expected)

    def test_shapes_types_and_device(self, name, options):
        batch = batch_of(BOTH)
        made = run(name, options, batch)
        assert (made.turn.shape, made.turn.dtype) == ((batch.num_turns,), torch.float32)
        for column, size in (
            (made.token, batch.num_tokens),
            (made.clip_scale, batch.num_turns),
            (made.weight, batch.num_tokens),
        ):
            assert column is None or (column.shape, column.dtype) == ((size,), torch.float32)
        if made.token is not None:
            assert made.token[batch.turn_of_token < 0].count_nonzero() == 0
        assert made.metrics and all(value.shape == () for value in made.metrics.values())

    def test_nothing_waits_for_the_device(self, name, options):
        """Meta tensors have no values: `.item()`, `nonzero` and boolean indexing would raise."""
        batch = batch_of(BOTH)
        expected = run(name, options, batch)
        made = run(name, options, batch.to("meta"))
        assert made.turn.is_meta and made.turn.shape == expected.turn.shape

    @pytest.mark.parametrize("trajs", ["none", "no turns", "one turn"])
    def test_small_batches(self, name, options, trajs):
        lone = Traj(group=0, rewards=[0.5], outcome=1.0, columns=dict.fromkeys(TURN_COLUMNS, [1.0]))
        empty = Traj(group=1, rewards=[], outcome=5.0)
        batch = batch_of({"none": [], "no turns": [empty], "one turn": [lone, empty]}[trajs])
        made = run(name, options, batch)
        assert made.turn.shape == (batch.num_turns,)
        if options.get("preset") != "released" and name != "raft":  # which compares with nothing
            assert made.turn.count_nonzero() == 0  # nothing to compare with

    def test_bits_repeat(self, name, options):
        batch = batch_of(BOTH)
        one, other = run(name, options, batch), run(name, options, batch)
        assert all(map(torch.equal, columns_of(one), columns_of(other)))

    def test_a_hundred_thousand_turns(self, name, options):
        batch = big_batch(12_500, 8)
        run(name, options, big_batch(16, 8))
        began = time.perf_counter()
        made = run(name, options, batch)
        assert time.perf_counter() - began < 2  # milliseconds; a loop over rows takes longer
        assert made.turn.isfinite().all() and made.turn.abs().max() > 0.1
