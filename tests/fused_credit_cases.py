"""Run by test_fused_credit.py in its own process: plans through their kernels against torch forms."""

from __future__ import annotations

import math
import os
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from batches import Traj
from credit_cases import TURN_COLUMNS, VARIANTS, batch_of, big_batch, trajectories
from guarded import guarded_allocations
from turngym.trainers.credit import CREDITS
from turngym.trainers.credit.credit import fused_credit
from turngym.trainers.kernels.dispatch import VARIABLE
from turngym.trainers.kernels.testing import assert_close
from turngym.trainers.kernels.token_credit import launch as token_launch
from turngym.trainers.kernels.turn_credit import launch
from turngym.trainers.types import Credit, TurnBatch

DEVICE = os.environ["TURNGYM_PARITY_DEVICE"]
EXAMPLES = int(os.environ.get("TURNGYM_EXAMPLES", "6"))

MORE = [
    ("grpo", {"preset": "dr_grpo", "turn_reward_weight": 0.5, "singleton": "raw"}),
    ("grpo", {"ddof": 0, "singleton": "drop"}),
    ("rloo", {"turn_reward_weight": 0.5, "singleton": "raw"}),
    ("reinforce_pp", {"turn_reward_weight": 0.5}),
    ("reinforce_pp_baseline", {"turn_reward_weight": 0.5, "singleton": "raw"}),
    ("mapo", {"wide_input": "reward", "singleton": "raw", "gamma": 0.0}),
    ("mapo", {"preset": "mica", "turn_key": "exchange", "singleton": "drop"}),
    ("mapo", {"singleton": "drop"}),
    ("a2tgpo", {"turn_key": "exchange", "gamma": 0.7}),
    ("a2tgpo", {"singleton": "drop", "beta": 0.0}),
    ("igpo", {"preset": "early", "singleton": "raw", "gamma": 0.9}),
    ("oprl", {"singleton": "drop"}),
    ("oprl", {"normalize": "leave_one_out", "step_rows": "first", "singleton": "raw"}),
    ("gigpo", {"singleton": "drop", "omega": 0.5, "turn_reward_weight": 0.5}),
    ("gae_token", {"gamma": 0.9, "lam": 0.8, "turn_reward_weight": 0.5, "whiten": False}),
    ("gae_token", {"time": "turn", "gamma": 0.9, "lam": 0.7}),
    ("gae_token", {"time": "turn", "gamma": 0.0}),
    ("gae_bilevel", {"gamma": 0.9, "lam": 0.8, "lam_turn": 0.6, "whiten": False}),
    ("reinforce_pp", {"gamma": 0.5, "turn_reward_weight": 0.5}),
    ("gae_turn", {"whiten": False, "turn_reward_weight": 0.5}),
    ("spa", {"grounding_offset": -1.0, "progress_weight": 0.5, "whiten": False}),
]
PLANNED = [
    (name, options)
    for name, options in VARIANTS + MORE
    if (method := CREDITS[name]).plan is not None and method.plan(method.parse(options)) is not None
]
every_plan = pytest.mark.parametrize(
    ("name", "options"), PLANNED, ids=["-".join(map(str, (n, *o.values()))) for n, o in PLANNED]
)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(launch, "BLOCK", 16)
    monkeypatch.setattr(launch, "SHARED_TILE", 8)
    monkeypatch.setattr(token_launch, "BLOCK", 8)


def turn_column(values: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, values, math.nan)


def poisoned(batch: TurnBatch) -> TurnBatch:
    """NaN where nobody may look: what a mask hides, and all of a masked trajectory."""
    there, columns = batch.turn_mask, batch.turn_columns
    gains = columns["info_gain_mask"]
    hidden = {n: turn_column(c, there) for n, c in columns.items() if n != "info_gain_mask"}
    hidden["info_gain"] = turn_column(columns["info_gain"], there & gains)
    sampled = there[batch.turn_of_token.clamp(min=0)] & (batch.turn_of_token >= 0)
    values = torch.where(sampled, batch.token_columns["values"], math.nan)
    return replace(
        batch,
        outcome=torch.where(batch.traj_mask, batch.outcome, math.nan),
        turn_rewards=turn_column(batch.turn_rewards, there & batch.reward_mask),
    ).with_columns(turn=hidden, token={"values": values})


def drawn(seed: int, lengths: list[int], groups: list[int]) -> TurnBatch:
    """Random numbers on given shapes: few values, so that some keys are flat, states meet."""
    draw = torch.Generator().manual_seed(seed)

    def few(n: int) -> list[float]:
        return torch.randint(-2, 3, (n,), generator=draw).div(2).tolist()

    def row(length: int, group: int) -> Traj:
        columns = {name: few(length) for name in TURN_COLUMNS}
        columns["info_gain_mask"] = [float(value > -1) for value in few(length)]
        return Traj(
            group=group,
            rewards=[None if value == 1 else value for value in few(length)],
            outcome=few(1)[0],
            tokens=[int(3 * abs(value)) for value in few(length)],
            exchange=[min(pair) for pair in enumerate(sorted(int(abs(v)) for v in few(length)))],
            anchor=[int(2 * value) for value in few(length)],
            counts=few(1)[0] > -1,
            columns=columns,
        )

    batch = batch_of([row(*shape) for shape in zip(lengths, groups, strict=True)])
    trained = torch.rand(batch.num_turns, generator=draw) < 0.8
    batch = replace(batch, loss_mask=trained, num_groups=max(groups) + 2)  # the last is empty
    return poisoned(batch).with_table()


RAGGED = ([3, 1, 4, 2, 0, 2], [1, 0, 0, 1, 1, 2])
SMALL = {"one turn": ([1], [0]), "a full tile": ([4] * 4, [0] * 4)}


def both(name: str, options: dict[str, object], batch: TurnBatch) -> tuple[Credit, Credit]:
    """What the kernels make of the plan, and what the method's torch form gives."""
    method = CREDITS[name]
    config = method.parse(options)
    assert method.plan is not None
    plan = method.plan(config)
    assert plan is not None
    batch = batch.to(DEVICE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, "triton")
        made = fused_credit(batch, plan)
        patch.setenv(VARIABLE, "reference")
        expected = method(batch, config)
    assert made is not None
    return made, expected


def same(made: Credit, expected: Credit) -> None:
    for column in ("turn", "token", "clip_scale", "weight", "returns"):
        got, wanted = getattr(made, column), getattr(expected, column)
        assert (got is None) == (wanted is None), column
        if got is not None:
            assert_close(got, wanted, 2e-5)
    assert set(made.metrics) == set(expected.metrics)
    for metric, value in expected.metrics.items():
        assert_close(made.metrics[metric], value)


@every_plan
def test_it_equals_the_torch_form(name, options, monkeypatch):
    """Guard bands around what is allocated, NaN in it and wherever a mask hides something."""
    with guarded_allocations(monkeypatch):
        made, expected = both(name, options, drawn(4, *RAGGED))
    same(made, expected)


@pytest.mark.parametrize("name", ["mapo", "a2tgpo", "gigpo", "gae_token"])
@pytest.mark.parametrize("shape", SMALL)
def test_small_shapes(name, shape, monkeypatch):
    with guarded_allocations(monkeypatch):
        made, expected = both(name, {}, drawn(7, *SMALL[shape]))
    same(made, expected)


@settings(
    deadline=None,
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(case=st.sampled_from(PLANNED), trajs=trajectories, masked=st.integers(0, 7))
def test_on_any_batch(case, trajs, masked):
    name, options = case
    trajs = [replace(traj, counts=place != masked) for place, traj in enumerate(trajs)]
    batch = poisoned(batch_of(trajs)).with_table()
    if batch.num_turns:
        same(*both(name, options, batch))


@pytest.mark.parametrize("name", ["mapo", "gigpo", "gae_token"])
def test_bits_repeat_and_groups_may_come_in_any_order(name):
    batch = drawn(3, *RAGGED)
    renamed = replace(batch, group_of_traj=2 - batch.group_of_traj).with_table()
    (first, _), (again, _), (other, _) = (both(name, {}, b) for b in (batch, batch, renamed))
    for column in ("turn", "token", "clip_scale", "returns"):
        one, same_again = getattr(first, column), getattr(again, column)
        assert one is None or torch.equal(one, same_again)
    assert_close(other.turn, first.turn, 1e-6)


def test_a_wide_tile():
    """Sixteen members of up to fifty turns: several rows for every lane of a program."""
    lengths = [50, 33, 17, 1, *range(30, 42)]
    same(*both("mapo", {}, drawn(5, lengths, [0] * len(lengths))))


def test_long_turns_cross_blocks():
    """Turns of up to 30 tokens in blocks of 8, and observations that fill a block."""
    lengths = [
        Traj(group=0, rewards=[0.5, None, 1.0], outcome=1.0, tokens=t) for t in ([30, 1, 9],)
    ]
    batch = batch_of([*lengths, Traj(group=0, rewards=[], outcome=2.0), *lengths], gap=9)
    draw = torch.Generator().manual_seed(2)
    values = torch.randn(batch.num_tokens, generator=draw)
    batch = batch.with_columns(token={"values": values})
    same(*both("gae_bilevel", {}, poisoned(batch).with_table()))


def test_values_that_differ_by_rounding_are_equal():
    """One unit in the last place would become +-1; states left twice alike are counted once."""
    near = 1 + 2**-23
    trajs = [
        Traj(group=0, rewards=[r, 1.0], outcome=o, anchor=[0, 1], columns={"step_reward": [r, 1]})
        for r, o in ((1.0, near), (near, 1.0), (1.0, 1.0))
    ]
    batch = batch_of(trajs).with_table()
    for name in ("grpo", "oprl", "mapo", "gigpo"):
        made, expected = both(name, {"wide_weight": 0.0} if name == "mapo" else {}, batch)
        same(made, expected)
        assert made.turn.count_nonzero() == 0
    assert made.metrics["anchor_flat"] == 2 and made.metrics["group_flat"] == 1


def test_small_differences_of_large_returns_survive():
    """10 +- 1e-3: a variance of one pass in float32 would be lost, here and in merging groups."""
    trajs = [
        Traj(group=place % 3, rewards=[10 + 1e-3 * (place % 5)], columns={}) for place in range(15)
    ]
    made, _ = both("mapo", {"gamma": 0.0}, batch_of(trajs).with_table())
    x = torch.tensor([traj.rewards[0] for traj in trajs], dtype=torch.float32).double()
    key = torch.arange(15) % 3
    apart = torch.stack([x - x[key == k].mean() for k in range(3)])[key, torch.arange(15)]
    spread = torch.stack([x[key == k].std(correction=0) for k in range(3)])[key]
    exact = 0.5 * apart / spread + 0.5 * (x - x.mean()) / x.std(correction=0)
    torch.testing.assert_close(made.turn.cpu(), exact.float(), atol=1e-3, rtol=1e-3)


# ---- what is left to the torch form ----


def plan_of(name: str):
    method = CREDITS[name]
    assert method.plan is not None
    return method.plan(method.config())


def test_a_batch_without_a_table_is_not_taken(monkeypatch):
    batch = drawn(1, *RAGGED)
    bare = replace(
        batch, tokens_of_turn=None, traj_by_group=None, cu_groups=None, cu_traj_tokens=None
    )
    assert launch.tile_of(bare, plan_of("mapo")) is None
    assert token_launch.token_credit(bare, plan_of("gae_token")) is None
    monkeypatch.setenv(VARIABLE, "triton")
    assert_close(CREDITS["mapo"](bare).turn, CREDITS["mapo"](batch).turn)


def test_groups_beyond_a_program_are_not_taken(monkeypatch):
    """A hundred thousand turns in one group; where groups do not matter they are cut as usual."""
    whole = big_batch(12_500, 8)
    whole = replace(whole, group_of_traj=0 * whole.group_of_traj, num_groups=1).with_table()
    assert launch.tile_of(whole, plan_of("mapo")) is None
    tile = launch.tile_of(whole, plan_of("gae_turn"))
    assert tile is not None and (tile.members, tile.turns) == (1, 8)
    monkeypatch.setattr(launch, "LARGEST_TILE", 16)
    monkeypatch.setattr(launch, "LARGEST_MEETING", 8)
    four_by_four = drawn(5, *SMALL["a full tile"])
    two_by_four = drawn(6, [4] * 4, [0, 1, 0, 1])
    assert launch.tile_of(four_by_four, plan_of("mapo")) is not None
    assert launch.tile_of(four_by_four, plan_of("gigpo")) is None
    assert launch.tile_of(two_by_four, plan_of("gigpo")) is not None
    longer = drawn(6, [5] * 4, [0] * 4)
    assert launch.tile_of(longer, plan_of("a2tgpo")) is None
    monkeypatch.setenv(VARIABLE, "triton")
    by_primitives = CREDITS["a2tgpo"](longer)
    monkeypatch.setenv(VARIABLE, "reference")
    same(by_primitives, CREDITS["a2tgpo"](longer))


def test_nothing_is_launched_for_a_batch_without_turns():
    assert launch.tile_of(batch_of([]).with_table(), plan_of("mapo")) is None


def test_nan_inside_a_group_stays_in_it():
    """Visible where it is, and nowhere else."""
    trajs = [Traj(group=g, rewards=[float(g + i)]) for g in range(2) for i in range(3)]
    batch = batch_of(trajs)
    rewards = batch.turn_rewards.clone()
    rewards[1] = math.nan
    made, _ = both("mapo", {"preset": "mica"}, replace(batch, turn_rewards=rewards).with_table())
    assert bool(made.turn[:3].isnan().all()) and bool(made.turn[3:].isfinite().all())
