"""Rubrics and combinators against sums done by hand, and their laws under hypothesis."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.errors import ConfigError, InfraTimeout, JudgeFailure
from turngym.rewards.bounded import Bounded
from turngym.rewards.checklist import Checklist, Item
from turngym.rewards.gated import Gate, Gated, accumulate
from turngym.rewards.potential import Potential
from turngym.rewards.recorded import outcome, total, turn_reward
from turngym.rewards.reward import TrajectoryReward, TurnReward, reward
from turngym.rewards.rubric import Rubric, Weighted
from turngym.types import Completion, EpisodeStatus, Trajectory, Turn, TurnStatus, assistant, user

FAILED = JudgeFailure("no verdict after 3 tries")
finite = st.floats(-1e6, 1e6)


def episode(rewards=(None, None), outcome=None, status=EpisodeStatus.TERMINATED):
    turns = tuple(
        Turn(seen=(user("go"),), completion=Completion(message=assistant(f"{i}")), reward=value)
        for i, value in enumerate(rewards)
    )
    return Trajectory(
        env_id="tests/Guess-v0",
        task_id="1",
        episode="0/0/0",
        seed=0,
        group="0/0",
        turns=turns,
        status=status,
        outcome=outcome,
        success=None if outcome is None else outcome >= 1,
    )


def turns(name, *values):
    return TurnReward(name, lambda trajectory: values)


def whole(name, value):
    return TrajectoryReward(name, lambda trajectory: value)


def raising(error):
    def fail(trajectory):
        raise error

    return fail


# --- Rubric ---------------------------------------------------------------------------------------


def test_a_rubric_weighs_each_level_and_keeps_every_part():
    rubric = Rubric(
        terms=(
            Weighted(reward=turns("a", 1.0, 2.0), weight=0.5),
            Weighted(reward=turns("b", None, -1.0), weight=2.0),
            Weighted(reward=whole("solved", 1.0)),
            Weighted(reward=whole("length", 10.0), weight=-0.01),
        )
    )
    scored = rubric.apply(episode((7.0, 7.0), outcome=0.25))
    assert [turn.reward for turn in scored.turns] == [0.5, -1.0]  # 0.5*1; 0.5*2 + 2*(-1)
    assert [dict(turn.rewards) for turn in scored.turns] == [{"a": 1.0}, {"a": 2.0, "b": -1.0}]
    assert scored.outcome == 0.9  # 1 - 0.01 * 10
    assert scored.rewards == {"solved": 1.0, "length": 10.0}


def test_add_keeps_the_environments_own_reward_in_the_sum():
    terms = (Weighted(reward=turns("a", 1.0, None)), Weighted(reward=whole("b", 1.0)))
    scored = Rubric(terms=terms, default="add").apply(episode((0.5, 0.25), outcome=2.0))
    assert [turn.reward for turn in scored.turns] == [1.5, 0.25]
    assert scored.outcome == 3.0


def test_a_turn_without_any_value_has_no_reward_rather_than_0():
    scored = Rubric(terms=(Weighted(reward=turns("a", None, 0.0)),)).apply(episode((1.0, 1.0)))
    assert [turn.reward for turn in scored.turns] == [None, 0.0]
    assert all(turn.status == TurnStatus.OK for turn in scored.turns)


def test_a_level_without_terms_is_left_alone():
    before = episode((0.5, None), outcome=0.7)
    scored = Rubric(terms=(Weighted(reward=whole("x", 0.1)),)).apply(before)
    assert scored.turns == before.turns and scored.outcome == 0.1
    scored = Rubric(terms=(Weighted(reward=turns("x", 1.0, 1.0)),)).apply(before)
    assert scored.outcome == 0.7


def test_a_judge_that_fails_on_one_turn_clears_that_turn_only():
    rubric = Rubric(
        terms=(Weighted(reward=turns("a", 1.0, 2.0)), Weighted(reward=turns("b", 1.0, FAILED)))
    )
    first, second = rubric.apply(episode((None, 5.0), outcome=1.0)).turns
    assert (first.reward, first.status) == (2.0, TurnStatus.OK)
    assert (second.reward, second.status) == (None, TurnStatus.REWARD_MISSING)
    assert second.rewards == {"a": 2.0}
    assert second.info["reward_error"] == "b: no verdict after 3 tries"


def test_a_turn_judge_that_raises_clears_every_turn_but_not_the_outcome():
    rubric = Rubric(terms=(Weighted(reward=TurnReward("a", raising(InfraTimeout("30 s")))),))
    scored = rubric.apply(episode((1.0, 1.0), outcome=1.0))
    assert {turn.status for turn in scored.turns} == {TurnStatus.REWARD_MISSING}
    assert scored.status == EpisodeStatus.TERMINATED and scored.outcome == 1.0


def test_a_judge_that_fails_on_the_episode_takes_it_out_of_every_count():
    terms = (
        Weighted(reward=whole("a", 1.0)),
        Weighted(reward=TrajectoryReward("b", raising(FAILED))),
    )
    scored = Rubric(terms=terms).apply(episode(outcome=1.0))
    assert scored.status == EpisodeStatus.JUDGE_ERROR and not scored.status.counts
    assert scored.outcome is None and scored.success is None
    assert "no verdict" in scored.error


def test_a_broken_episode_comes_back_as_it_was_and_no_judge_is_asked():
    asked = Rubric(
        terms=(Weighted(reward=TrajectoryReward("a", raising(AssertionError("asked")))),)
    )
    broken = episode(status=EpisodeStatus.INFRA_ERROR)
    assert asked.apply(broken) is broken


def test_bugs_of_a_reward_are_not_taken_for_failures_of_a_judge():
    for wrong in (turns("a", 1.0), turns("a", 1.0, math.nan), whole("a", math.inf)):
        with pytest.raises(ValueError, match="'a'"):
            Rubric(terms=(Weighted(reward=wrong),)).apply(episode())


def test_two_rewards_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two rewards called 'a'"):
        Rubric(terms=(Weighted(reward=whole("a", 1.0)), Weighted(reward=turns("a", 1.0))))


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=6), st.floats(-2, 2))
def test_rubrics_are_linear_in_the_weights(pairs, weight):
    one = turns("a", *(a for a, _ in pairs))
    two = turns("b", *(b for _, b in pairs))
    rubric = Rubric(terms=(Weighted(reward=one), Weighted(reward=two, weight=weight)))
    scored = rubric.apply(episode([None] * len(pairs)))
    for turn, (a, b) in zip(scored.turns, pairs, strict=True):
        assert turn.reward == pytest.approx(a + weight * b, rel=1e-12, abs=1e-9)


# --- Gated ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("comparator", "value", "expected"),
    [(">=", 0.5, 3.0), (">", 0.5, 0.0), (">", 0.51, 3.0), (">=", 0.49, 0.0)],
)
def test_the_comparator_decides_at_the_threshold(comparator, value, expected):
    gate = Gate(reward=whole("high", value), threshold=0.5, comparator=comparator)
    assert Gated(reward=whole("low", 3.0), gates=(gate,))(episode()) == expected


def test_gated_accumulation_of_three_priorities():
    # Submitted (gate 1), tests passed (gate 0.5), format per turn: the SWE instance of G-RA.
    def run(submitted, passed):
        rubric = Rubric(
            terms=accumulate(
                Gate(reward=whole("submitted", submitted), threshold=1.0),
                Gate(reward=whole("passed", passed), threshold=0.5),
                last=turns("format", 0.1, 0.2),
            )
        )
        scored = rubric.apply(episode())
        return scored.outcome, [turn.reward for turn in scored.turns], scored.rewards

    assert run(1.0, 0.5)[:2] == (1.5, [0.1, 0.2])
    assert run(1.0, 0.4)[:2] == (1.4, [0.0, 0.0])
    assert run(0.0, 0.5)[:2] == (0.0, [0.0, 0.0])
    assert run(0.0, 0.5)[2] == {"submitted": 0.0, "gated_passed": 0.0, "passed": 0.5}


def test_a_closed_gate_leaves_turns_without_reward_without_one():
    gate = Gate(reward=whole("high", 0.0), threshold=1.0)
    assert Gated(reward=turns("low", None, 2.0), gates=(gate,))(episode()) == (None, 0.0)


def test_the_recorded_outcome_can_be_a_gate_and_a_missing_one_is_no_zero():
    gated = Gated(reward=turn_reward, gates=(Gate(reward=outcome, threshold=1.0),))
    assert gated(episode((0.5, None), outcome=1.0)) == (0.5, None)
    with pytest.raises(JudgeFailure, match="has no outcome"):
        gated(episode((0.5, None)))


# --- Potential ------------------------------------------------------------------------------------


@given(st.lists(finite, min_size=1, max_size=12))
def test_potential_differences_add_up_to_the_change_of_the_potential(values):
    potential = Potential(name="phi", potentials=lambda trajectory: values)
    rewards = potential(episode([None] * (len(values) - 1)))
    assert math.fsum(rewards) == pytest.approx(values[-1] - values[0], rel=1e-9, abs=1e-6)


@given(st.lists(finite, min_size=2, max_size=12), st.floats(0.5, 1.0))
def test_discounted_differences_telescope_too(values, gamma):
    potential = Potential(name="phi", potentials=lambda trajectory: values, gamma=gamma)
    rewards = potential(episode([None] * (len(values) - 1)))
    discounted = math.fsum(gamma**t * r for t, r in enumerate(rewards))
    end = gamma ** (len(values) - 1) * values[-1]
    assert discounted == pytest.approx(end - values[0], rel=1e-9, abs=1e-5)


def test_a_failed_potential_fails_the_turns_on_both_sides_of_it():
    potential = Potential(name="phi", potentials=lambda trajectory: (0.0, FAILED, 1.0, 3.0))
    assert potential(episode([None] * 3)) == (FAILED, FAILED, 2.0)


def test_a_potential_needs_a_value_before_the_first_turn():
    with pytest.raises(ValueError, match="got 2 for 2 turns"):
        Potential(name="phi", potentials=lambda trajectory: (0.0, 1.0))(episode())


# --- Bounded --------------------------------------------------------------------------------------


@given(st.lists(st.none() | finite, max_size=6), finite, st.floats(1e-3, 1e3))
def test_bounded_values_stay_in_range_and_change_only_outside_it(values, low, width):
    inner = turns("a", *values)
    bounded = Bounded(reward=inner, low=low, high=low + width)
    for before, after in zip(values, bounded(episode([None] * len(values))), strict=True):
        if before is None:
            assert after is None
        else:
            assert low <= after <= low + width
            assert after == before or not low <= before <= low + width


def test_bounded_passes_failures_on_and_works_on_episodes():
    assert Bounded(reward=turns("a", FAILED, 9.0))(episode()) == (FAILED, 1.0)
    assert Bounded(reward=whole("a", -3.0), low=-1.0)(episode()) == -1.0
    with pytest.raises(ValueError, match="low < high"):
        Bounded(reward=whole("a", 1.0), low=1.0, high=1.0)


# --- Checklist ------------------------------------------------------------------------------------


def item(name, *verdicts, **kwargs):
    return Item(name=name, holds=lambda trajectory: verdicts, **kwargs)


def test_items_fire_once_in_the_turn_that_completes_them():
    checklist = Checklist(
        name="steps",
        items=(item("look", 0, 1, 1, weight=0.25), item("book", 0, 0, 1, weight=0.75)),
    )
    assert checklist(episode([None] * 3)) == (0.0, 0.25, 0.75)
    assert total(checklist)(episode([None] * 3)) == 1.0


def test_an_item_waits_for_an_earlier_turn_to_satisfy_what_it_depends_on():
    look, book = item("look", 0, 1, 0, 0), item("book", 1, 1, 0, 1, weight=2.0, after=("look",))
    # Turn 0: book too early. Turn 1: look fires; book holds in the same turn, which is no earlier one.
    assert Checklist(name="s", items=(look, book))(episode([None] * 4)) == (0.0, 1.0, 0.0, 2.0)


def test_a_failed_verdict_fails_the_turn_only_while_the_item_is_open():
    checklist = Checklist(name="s", items=(item("a", FAILED, True, FAILED),))
    assert checklist(episode([None] * 3)) == (FAILED, 1.0, 0.0)
    with pytest.raises(JudgeFailure):
        total(checklist)(episode([None] * 3))


@given(st.data())
def test_a_checklist_never_pays_more_than_the_weights_of_the_items_that_held(data):
    count = data.draw(st.integers(0, 6))
    columns = data.draw(
        st.lists(st.lists(st.booleans(), min_size=count, max_size=count), max_size=5)
    )
    items = tuple(
        item(f"i{index}", *column, weight=2.0**index, after=(f"i{index - 1}",) if index else ())
        for index, column in enumerate(columns)
    )
    values = Checklist(name="s", items=items)(episode([None] * count))
    paid = math.fsum(values)  # type: ignore[arg-type]
    held = sum(2.0**index for index, column in enumerate(columns) if any(column))
    assert len(values) == count and 0 <= paid <= held
    # Each item waits for the one before, so what is paid is a prefix: 1 + 2 + 4 ... = 2^n - 1.
    assert math.log2(paid + 1).is_integer()


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ((item("look"), item("book", after=("lok",))), "Did you mean 'look'"),
        ((item("a", after=("b",)), item("b", after=("a",))), "depends on itself"),
        ((item("a"), item("a")), "twice"),
    ],
)
def test_a_checklist_with_wrong_dependencies_is_refused(items, words):
    with pytest.raises(ConfigError, match=words):
        Checklist(name="s", items=items)


# --- reward ---------------------------------------------------------------------------------------


def test_the_decorator_names_registers_and_checks():
    @reward("tests_brevity")
    def brevity(trajectory):
        return 1 / len(trajectory.turns)

    assert brevity(episode()) == 0.5 and (brevity.name, brevity.level) == (
        "tests_brevity",
        "trajectory",
    )
    with pytest.raises(ValueError, match="level must be"):
        reward("x", level="token")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="expected a trajectory-level one"):
        Gate(reward=turns("a", 1.0, 1.0), threshold=0.0).open(episode())
