"""What the papers promise of single methods; registry, settings and errors."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from batches import Traj, bools, make_batch
from credit_cases import BOTH, METHODS, batch_of, number, trajectory
from turngym.config import Config
from turngym.errors import ConfigError, UnknownNameError, UsageError
from turngym.trainers.config import CreditSettings
from turngym.trainers.credit import (
    CREDITS,
    A2tgpoConfig,
    GaeBilevelConfig,
    GigpoConfig,
    GrpoConfig,
    MapoConfig,
    OprlConfig,
    ReinforcePpConfig,
    SpaConfig,
    a2tgpo,
    credit,
    credit_method,
    gae_bilevel,
    gae_turn,
    gigpo,
    grpo,
    mapo,
    oprl,
    reinforce_pp,
    rloo,
    spa,
)
from turngym.trainers.credit.credit import finish
from turngym.trainers.kernels.testing import assert_close
from turngym.trainers.types import Credit, TurnBatch

two_or_more = st.lists(trajectory(2, 4), min_size=2, max_size=8)


def terms(batch: TurnBatch) -> Tensor:
    """A2TGPO's turn part: the advantage with and without gains, subtracted."""
    outcome_only = a2tgpo(batch, A2tgpoConfig(alpha=0)).turn
    return a2tgpo(batch, A2tgpoConfig()).turn - outcome_only


def first_gain_key(batch: TurnBatch) -> Tensor:
    return (batch.group_of_traj[batch.traj_of_turn] == 0) & (batch.turn_index == 1)


@settings(deadline=None, max_examples=40)
@given(trajs=two_or_more, shift=number, scale=st.sampled_from([0.5, 2.0, 64.0]))
def test_gains_matter_up_to_shift_and_scale(trajs, shift, scale):
    batch = batch_of(trajs)
    gain = batch.turn_columns["info_gain"]
    shifted = gain + torch.where(first_gain_key(batch), shift, 0.0)
    for moved in (shifted, gain * scale):
        other = batch.with_columns(turn={"info_gain": moved})
        assert_close(terms(other), terms(batch), 2e-5)


@settings(deadline=None, max_examples=40)
@given(trajs=two_or_more)
def test_normalised_gains_of_a_group_sum_to_zero(trajs):
    """Read back from the clip factor, 1 + beta (2 sigmoid(gain) - 1)."""
    batch = batch_of(trajs)
    scale = a2tgpo(batch).clip_scale
    assert scale is not None
    gain = torch.logit(((scale - 1) / 0.3 + 1) / 2)
    key = batch.group_of_traj[batch.traj_of_turn] * batch.max_turns + batch.turn_index
    sums = torch.zeros(3 * batch.max_turns).index_add(0, key, gain)
    assert sums.abs().max() < 1e-4


@settings(deadline=None, max_examples=40)
@given(trajs=two_or_more, shift=number)
def test_mapo_ignores_a_shift_of_all_returns_of_a_turn(trajs, shift):
    """gamma = 0 makes rewards the returns, so that one turn's can be moved alone."""
    only_turn = MapoConfig(gamma=0, wide_weight=0)
    batch = batch_of(trajs)
    moved = torch.where(first_gain_key(batch) & batch.reward_mask, shift, 0.0)
    other = replace(batch, turn_rewards=batch.turn_rewards + moved)
    assert_close(mapo(other, only_turn).turn, mapo(batch, only_turn).turn, 2e-5)


@settings(deadline=None, max_examples=40)
@given(trajs=st.lists(trajectory(1, 1), min_size=2, max_size=8))
def test_mapo_on_single_turns_is_population_grpo(trajs):
    trajs = [replace(t, rewards=[t.outcome]) for t in trajs]
    batch = batch_of(trajs)
    expected = grpo(batch, GrpoConfig(ddof=0, eps=1e-8)).turn
    assert_close(mapo(batch, MapoConfig(turn_weight=1, wide_weight=0)).turn, expected)


@settings(deadline=None, max_examples=30)
@given(trajs=two_or_more)
def test_what_methods_reduce_to(trajs):
    batch = batch_of(trajs)
    population = grpo(batch, GrpoConfig(ddof=0, eps=1e-8)).turn
    none = torch.zeros_like(batch.turn_columns["info_gain_mask"])
    gainless = a2tgpo(batch.with_columns(turn={"info_gain_mask": none}))
    assert_close(gainless.turn, population)
    assert gainless.clip_scale is not None and bool((gainless.clip_scale == 1).all())
    assert_close(oprl(batch, OprlConfig(alpha=0)).turn, grpo(batch).turn)
    centred = grpo(batch, GrpoConfig(preset="dr_grpo")).turn
    assert_close(gigpo(batch, GigpoConfig(omega=0, turn_reward_weight=0)).turn, centred)
    size = torch.bincount(batch.group_of_traj, minlength=3)[batch.group_of_traj].float()
    factor = (size / (size - 1).clamp(min=1))[batch.traj_of_turn]
    assert_close(rloo(batch).turn, centred * factor)


def test_exact_progress_returns_the_outcome():
    batch = batch_of(BOTH)
    progress = batch.outcome[batch.traj_of_turn] / batch.cu_turns.diff()[batch.traj_of_turn]
    plain = SpaConfig(advantage="return", gamma=1, grounding_weight=0, whiten=False)
    made = spa(batch.with_columns(turn={"progress": progress}), plain)
    assert_close(made.turn[batch.cu_turns[:-1]], batch.outcome)


def test_a_gain_of_zero_is_a_gain():
    """It counts under the root and in the mean; a turn is not lost because a number is 0."""
    trajs = [
        Traj(group=0, rewards=[None] * 3, columns={"info_gain": g, "info_gain_mask": [1, 1, 0]})
        for g in ([0.0, 1.0, 0.0], [2.0, 0.0, 0.0])
    ]
    made = a2tgpo(batch_of(trajs)).turn
    root = math.sqrt(2)
    assert made.tolist() == pytest.approx([(-1 + 1) / root, 1, 0, (1 - 1) / root, -1, 0], abs=1e-6)


def test_flat_and_lone_groups_are_counted_and_zero():
    trajs = [Traj(group=g, rewards=[None], outcome=o) for g, o in ((0, 1), (0, 1), (1, 3), (2, 0))]
    trajs.append(Traj(group=2, rewards=[None], outcome=9.0, counts=False))
    made = grpo(make_batch(trajs))
    assert made.turn.count_nonzero() == 0
    assert {name: float(value) for name, value in made.metrics.items()} == {
        "group_singletons": 2,  # group 1, and group 2 after its failure was taken out
        "group_flat": 1,
    }


def test_a_dropped_group_leaves_the_loss():
    trajs = [Traj(group=g, rewards=[None], outcome=float(o)) for g, o in ((0, 1), (0, 2), (1, 3))]
    batch = make_batch(trajs, gap=0)
    made = grpo(batch, GrpoConfig(singleton="drop"))
    assert made.weight is not None and made.weight.tolist() == [1, 1, 1, 1, 0, 0]
    kept = grpo(batch, GrpoConfig(singleton="raw"))
    assert kept.weight is None and kept.turn[2].item() == pytest.approx(3, abs=1e-5)


def test_a_missing_turn_reward_costs_its_own_turn_only():
    """Turn 2 of the first is unknown: out of every mean, 0 in the return before it, credit 0."""
    trajs = [Traj(group=0, rewards=r) for r in ([1.0, None], [3.0, 4.0], [2.0, 6.0])]
    config = MapoConfig(gamma=1, wide_weight=0, turn_weight=1)
    made = mapo(make_batch(trajs), config).turn
    # Returns at turn 1: 1, 7, 8 with mean 16/3 and deviation sqrt(86)/3; at turn 2: 4, 6.
    deviation = math.sqrt(86) / 3
    expected = [
        (1 - 16 / 3) / deviation,
        0,
        (7 - 16 / 3) / deviation,
        -1,
        (8 - 16 / 3) / deviation,
        1,
    ]
    assert made.tolist() == pytest.approx(expected, abs=1e-5)
    filled = mapo(
        make_batch(trajs), MapoConfig(gamma=1, wide_weight=0, turn_weight=1, preset="released")
    )
    # The mean of the others of its trajectory, 1, stands in: returns 2, 7, 8 and 1, 4, 6.
    first = [(x - 17 / 3) / math.sqrt(62 / 9) for x in (2, 7, 8)]
    second = [(x - 11 / 3) / math.sqrt(38 / 9) for x in (1, 4, 6)]
    expected = [value for pair in zip(first, second, strict=True) for value in pair]
    assert filled.turn.tolist() == pytest.approx(expected, abs=1e-5)


def test_a_trajectory_without_turns_enters_no_baseline():
    trajs = [Traj(group=0, rewards=[None], outcome=o) for o in (1.0, 0.0)]
    silent = Traj(group=0, rewards=[], outcome=5.0)
    for method in (grpo, rloo):
        expected = method(make_batch(trajs)).turn
        assert_close(method(make_batch([silent, *trajs])).turn, expected)


def test_finish_clears_masked_rows():
    batch = make_batch([Traj(group=0, rewards=[None], counts=c) for c in (True, False)])
    nan = torch.tensor([2.0, math.nan])
    made = finish(batch, nan, {}, clip_scale=nan, returns=nan)
    assert made.clip_scale is not None and made.returns is not None
    assert (made.turn.tolist(), made.clip_scale.tolist()) == ([2, 0], [2, 1])
    assert made.returns.tolist() == [2, 0]


@pytest.mark.parametrize("gamma", [1.0, 0.5])
def test_untrained_turns_stay_out_of_the_whitening(gamma):
    """The outcomes 1 and 3 are trained, 100 is not."""
    trajs = [Traj(group=0, rewards=[None], outcome=o, tokens=[1]) for o in (1.0, 3.0, 100.0)]
    batch = replace(make_batch(trajs), loss_mask=bools([True, True, False]))
    made = reinforce_pp(batch, ReinforcePpConfig(gamma=gamma))
    half = math.sqrt(0.5)  # unbiased: deviation sqrt 2 about the mean 2
    assert made.turn[:2].tolist() == pytest.approx([-half, half], abs=1e-6)
    critic = gae_turn(batch.with_columns(turn={"values": torch.zeros(3)}))
    assert critic.turn[:2].tolist() == pytest.approx([-half, half], abs=1e-6)


@pytest.mark.parametrize("whiten", [False, True])
def test_bilevel_gae_equals_its_equations_in_a_loop(whiten):
    config = GaeBilevelConfig(gamma_turn=0.9, lam_turn=0.7, gamma=0.8, lam=0.6, whiten=whiten)
    trajs = [
        Traj(group=0, rewards=[0.5, 0.0, -1.0], outcome=2.0, tokens=[2, 1, 3]),
        Traj(group=0, rewards=[0.0, None], outcome=1.0, tokens=[1, 2]),
    ]
    batch = make_batch(trajs)
    values = torch.randn(batch.num_tokens, generator=torch.Generator().manual_seed(3))
    batch = batch.with_columns(token={"values": values})
    expected = torch.zeros(batch.num_tokens)
    turn = 0
    for traj in trajs:
        places = [
            (batch.turn_of_token == turn + t).nonzero()[:, 0].tolist()
            for t in range(len(traj.rewards))
        ]
        turn += len(traj.rewards)
        high, next_value = 0.0, 0.0
        for t in reversed(range(len(traj.rewards))):
            end = places[t][-1]
            reward = (traj.rewards[t] or 0) + (traj.outcome if t == len(places) - 1 else 0)
            high = reward + 0.9 * next_value - float(values[end]) + 0.9 * 0.7 * high
            next_value = float(values[end])
            low = expected[end] = high
            for at, later in zip(places[t][-2::-1], places[t][:0:-1], strict=True):
                low = 0.8 * float(values[later]) - float(values[at]) + 0.8 * 0.6 * low
                expected[at] = low
    made = gae_bilevel(batch, config)
    sampled = batch.turn_of_token >= 0
    assert made.token is not None and made.returns is not None
    assert_close(made.returns[sampled], expected[sampled] + values[sampled])
    if whiten:
        mean, variance = expected[sampled].mean(), expected[sampled].var()
        expected = torch.where(sampled, (expected - mean) / (variance + 1e-8).sqrt(), 0)
    assert_close(made.token, expected)


def test_grounding_as_a_penalty():
    columns = {"progress": [0.0, 0.0], "grounding": [1.0, 0.0]}
    batch = make_batch([Traj(group=0, rewards=[None] * 2, columns=columns)])
    config = SpaConfig(grounding_offset=-1, advantage="return", gamma=0, whiten=False)
    assert spa(batch, config).turn.tolist() == [0, -0.5]


def test_exchanges_as_keys():
    """Two turns on the first message against one: by exchange they share a mean."""
    trajs = [
        Traj(group=0, rewards=[1.0, 2.0, 8.0], exchange=[0, 0, 1]),
        Traj(group=0, rewards=[3.0, 4.0], exchange=[0, 1]),
    ]
    config = MapoConfig(gamma=0, wide_weight=0, turn_weight=1, turn_key="exchange")
    root = math.sqrt(1.5)
    assert mapo(make_batch(trajs), config).turn.tolist() == pytest.approx([-root, 0, 1, root, -1])


# ---- registry, settings, errors ----


def test_missing_columns_name_their_signal():
    batch = make_batch([Traj(group=0, rewards=[1.0])])
    for name in METHODS:
        method = CREDITS[name]
        for need in method.needs(method.config()):
            with pytest.raises(UsageError, match=f"{name}.*signal '"):
                method(batch)
            assert need.signal
    with pytest.raises(UsageError, match="a2tgpo needs the turn column 'info_gain', which the"):
        a2tgpo(batch)


def test_needs_follow_the_settings():
    names = [need.column for need in spa.needs(SpaConfig())]
    assert names == ["progress", "grounding", "values"]
    released = SpaConfig(preset="released", advantage="return")
    assert [need.column for need in spa.needs(released)] == ["grounding"]


def test_methods_from_settings():
    made = credit_method(CreditSettings.model_validate({"method": "grpo", "divide_by_std": False}))
    assert made(batch_of(BOTH)).turn.tolist() == pytest.approx(
        grpo(batch_of(BOTH), GrpoConfig(divide_by_std=False)).turn.tolist()
    )
    with pytest.raises(UnknownNameError, match="Did you mean 'grpo'"):
        credit_method(CreditSettings(method="grp"))
    with pytest.raises(ConfigError, match="unknown key 'gama'.*Did you mean 'gamma'"):
        credit_method(CreditSettings.model_validate({"method": "mapo", "gama": 1}))


def test_presets_give_way_to_explicit_keys():
    assert A2tgpoConfig(preset="released").alpha == 0.3
    assert A2tgpoConfig(preset="released", alpha=0.7).alpha == 0.7
    assert MapoConfig(preset="mica").wide_input == "reward"
    with pytest.raises(ValueError, match="preset"):
        A2tgpoConfig.model_validate({"preset": "relased"})


@pytest.mark.parametrize("name", METHODS)
def test_every_preset_parses_and_its_type_is_its_name(name: str):
    kind = CREDITS[name].config
    for preset in getattr(kind, "presets", {}):
        assert kind.model_validate({"preset": preset}).model_dump()["preset"] == preset
    assert kind().model_dump()["type"] == name


def test_a_method_of_ones_own():
    class MineConfig(Config):
        """Settings."""

        scale: float = 2.0

    def mine(batch: TurnBatch, config: MineConfig) -> Credit:
        return Credit(turn=batch.turn_rewards * config.scale)

    mine.__annotations__["config"] = MineConfig  # a local class cannot be found by its name
    method = credit("mine_for_a_test")(mine)
    try:
        assert method(make_batch([Traj(group=0, rewards=[1.0, 3.0])])).turn.tolist() == [2, 6]
    finally:
        CREDITS._entries.pop("mine_for_a_test")
    with pytest.raises(TypeError, match="annotate the argument `config`"):
        credit("nameless")(lambda batch, config: Credit(turn=batch.turn_rewards))


def test_the_docs_name_every_method_and_their_snippet_runs():
    page = (Path(__file__).resolve().parents[1] / "docs/credit.md").read_text(encoding="utf-8")
    assert [name for name in METHODS if f"| `{name}` |" not in page] == []
    code = page.split("```python\n")[1].split("```")[0]
    try:
        exec(compile(code, "docs/credit.md", "exec", dont_inherit=True), {"__name__": __name__})
        batch = make_batch([Traj(group=0, rewards=[None, None], outcome=3.0)])
        assert CREDITS["mine"](batch).turn.tolist() == [3, 3]
    finally:
        CREDITS._entries.pop("mine", None)
