"""The exact state machines against hand computation and against recorded SAGE dialogues."""

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.envs.emotional_support.appraisal import Appraisal, Levels, Verdict
from turngym.envs.emotional_support.emotion import DEMO, RLVER, SAGE, Band, band
from turngym.envs.emotional_support.empa import EMPA, EmpaRule, deficit, increment
from turngym.errors import DataError
from turngym.rewards.emotion_empa import distance, potential

DEFAULT_SHARED = Path(__file__).resolve().parents[1].parent / "shared"
SHARED = Path(os.environ.get("TURNGYM_SHARED", DEFAULT_SHARED))
RECORDED = SHARED / "data/rlver_sage/sage_gpt4osim_o1_result.jsonl"


def feel(state, *changes):
    for change in changes:
        state = state.advance(Appraisal(change=change))
    return state


@pytest.mark.parametrize(
    ("rule", "changes", "value", "verdict"),
    [
        (SAGE, (25,), 50, Verdict.OPEN),  # 40 + clip(25) = 40 + 10
        (SAGE, (-25, -25, -25), 10, Verdict.OPEN),  # 40 - 30; the limit is below 10, not at 10
        (SAGE, (-10, -10, -10, -1), 9, Verdict.FAILURE),
        (SAGE, (10, 10, 10, 10, 10, 7), 97, Verdict.OPEN),
        (SAGE, (10, 10, 10, 10, 10, 7, 9), 100, Verdict.SUCCESS),  # 106 is capped
        (RLVER, (25,), 55, Verdict.OPEN),  # 30 + 25, not clipped
        (RLVER, (-29,), 1, Verdict.OPEN),
        (RLVER, (-30,), 0, Verdict.FAILURE),  # over at e <= 0
        (RLVER, (-50,), -20, Verdict.FAILURE),  # no floor
        (RLVER, (90,), 100, Verdict.SUCCESS),
        (DEMO, (15, 15, 15, 14), 99, Verdict.OPEN),
        (DEMO, (15, 15, 15, 15), 100, Verdict.SUCCESS),
    ],
)
def test_emotion_moves_and_ends_as_published(rule, changes, value, verdict):
    state = feel(rule.begin(), *changes)
    assert (state.value, state.verdict) == (value, verdict)


def test_outcome_is_never_negative_and_in_hundredths():
    assert feel(RLVER.begin(), -50).outcome == 0.0
    assert feel(SAGE.begin(), 5).outcome == 0.45


def test_bands_at_their_edges():
    edges = {100: Band.S, 99: Band.A, 70: Band.A, 69: Band.B, 40: Band.B, 39: Band.C, 10: Band.C}
    assert {value: band(value) for value in edges} == edges and band(9) is Band.F


@pytest.mark.skipif(not RECORDED.exists(), reason="recorded SAGE dialogues are not here")
def test_every_recorded_sage_update_and_ending_follows_from_our_state_machine():
    mismatches, updates = [], 0
    for line in RECORDED.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        said = [entry for entry in row["history"] if entry["role"] == "user"]
        state = SAGE.begin()
        ours, theirs = [state.value], [said[0]["emotion-point"]]
        for index, entry in enumerate(said[1:], start=1):
            updates += 1
            state = state.advance(Appraisal(change=int(entry["planning"]["change"])))
            ours.append(state.value)
            theirs.append(entry["emotion-point"])
            ended = state.verdict is not Verdict.OPEN
            if ended and index != len(said) - 1:
                mismatches.append((row["id"], index, "went on after our ending"))
        last = row["history"][-1]["role"]
        if (state.verdict is Verdict.OPEN) != (last == "assistant"):
            mismatches.append((row["id"], "ended otherwise", str(state.verdict)))
        if ours != theirs or f"Emotion-{band(state.value)}" != row["emo_state"]:
            mismatches.append((row["id"], ours, theirs))
    assert updates == 838  # as counted in the file itself
    assert mismatches == []


# Indicator levels C.1 C.2 C.3 A.1 A.2 A.3 P.1 P.2 P.3.
def test_deficit_points_of_the_nine_indicators():
    # C = -2 -4 -9 = -15; A = -6 -4 -3 = -13; P = 0 -12 -6 = -18
    assert deficit((1, 2, 3, 3, 1, 1, 0, 3, 2)) == (-15, -13, -18)


def test_increment_points_differ_between_the_cognitive_axis_and_the_others():
    levels = Levels(progress=(2, 1, 0), regress=(-2, -2, -1))
    assert increment(levels) == (3 - 4, 1 - 5, -2)


def test_distance_of_the_worked_example_and_its_rewards():
    path = [(-4, -5, -1), (-1, -5, -1), (-1, -2, -1), (0, -1, -3)]
    along = [distance(point) for point in path]
    assert along == [5.0, 4.0, 1.0, 2.0]
    assert [a - b for a, b in zip(along, along[1:], strict=False)] == [1.0, 3.0, -1.0]
    assert distance((5, 9, 9)) == 0.0  # overshoot is free
    assert distance((-4, -5, -1), tolerance=3) == math.hypot(1, 2)
    assert potential((-3, 0, -4)) == 9 / 14


UP, DOWN = Levels(progress=(2, 2, 2)), Levels(regress=(-1, -1, -1))


def walk(rule, start, *moves):
    state = rule.begin(start)
    for levels in moves:
        state = state.advance(Appraisal(change=0, levels=levels))
    return state


def test_success_waits_for_the_minimum_number_of_replies():
    # 3 points per axis and reply: after 4 replies (-12, -12, -12) is paid back.
    eleven, twelve = (walk(EMPA, (-12, -12, -12), *[UP] * n) for n in (11, 12))
    assert (eleven.verdict, twelve.verdict) == (Verdict.OPEN, Verdict.SUCCESS)
    assert twelve.position == (24, 24, 24) and twelve.outcome == 1.0


def test_success_needs_the_whole_energy():
    rule = EmpaRule(alpha_percent=10, min_replies=1, max_replies=9)
    short = Levels(progress=(2, 2, 1))
    # (-3,-3,-3) -> (0,0,-2): the energy is 3*3 + 3*3 + 1*3 = 21 of 27 (times |P_0|).
    assert walk(rule, (-3, -3, -3), short).verdict is Verdict.OPEN
    # -> (3,3,-1): 42 of 27, and the projection is positive.
    assert walk(rule, (-3, -3, -3), short, short).verdict is Verdict.SUCCESS


def test_five_losses_in_a_row_are_a_collapse_and_four_are_not():
    start = (-30, -30, -30)
    four = walk(EMPA, start, *[UP] * 8, *[DOWN] * 4)
    assert four.verdict is Verdict.OPEN
    assert walk(EMPA, start, *[UP] * 7, *[DOWN] * 5).verdict is Verdict.FAILURE


# (-30,0,0) drifts to (-30,36,0); then each reply loses 1 on C and 1 on A: the energy falls by 1 while
# |P| goes 46.9, 46.8, 46.7, 46.67, 46.69, 46.75, 46.86, 47.01: hardly at all.
DRIFT = [Levels(progress=(0, 2, 0))] * 12
FALL, STILL = Levels(progress=(1, 1, 0), regress=(-1, -1, 0)), Levels()


@pytest.mark.parametrize(
    ("last", "verdict"),
    [
        ([FALL, FALL, FALL, STILL, FALL, FALL, FALL, FALL], Verdict.FAILURE),
        ([STILL, FALL, FALL, FALL, FALL, STILL, FALL, FALL], Verdict.FAILURE),  # 6 of 8 > 70 %
        ([STILL, STILL, FALL, FALL, STILL, FALL, FALL, FALL], Verdict.OPEN),  # 5 of 8
        ([STILL] * 8, Verdict.OPEN),  # stagnation without regression
    ],
)
def test_stagnation_fails_only_together_with_regression(last, verdict):
    assert walk(EMPA, (-30, 0, 0), *DRIFT, *last).verdict is verdict


def test_regression_without_stagnation_goes_on():
    down = Levels(regress=(-2, 0, 0))
    assert walk(EMPA, (-30, 0, 0), *DRIFT, *[down] * 4, STILL, *[down] * 3).verdict is Verdict.OPEN


def test_mood_is_the_share_of_the_distance_that_is_gone():
    # (-13,0,0): distance 12; after +3: 9 left.
    assert walk(EMPA, (-13, 0, 0), Levels(progress=(2, 0, 0))).mood == 25


@pytest.mark.parametrize("start", [None, (0, 0, 0), (1, -3, -3)])
def test_a_deficit_that_is_none_is_refused(start):
    with pytest.raises(DataError, match="deficit"):
        EMPA.begin(start)


level = st.integers(0, 2)
moves = st.lists(
    st.builds(
        lambda up, down: Levels(progress=up, regress=down),
        st.tuples(level, level, level),
        st.tuples(*[st.integers(-2, 0)] * 3),
    ),
    min_size=12,
    max_size=20,
)
axis = st.integers(-30, 0)


@given(st.tuples(axis, axis, axis).filter(any), moves)
def test_distance_rewards_telescope_and_alpha_never_decides(start, path):
    state = EMPA.begin(start)
    total = 0.0
    for levels in path:
        after = state.advance(Appraisal(change=0, levels=levels))
        total += after.gain
        state = after
    assert math.isclose(total, distance(start) - distance(state.position), abs_tol=1e-9)
    # E_total >= |P_0| says P_t . v* >= 0, which implies the directional condition for any alpha.
    reached = sum(x * y for x, y in zip(state.position, start, strict=True)) <= 0
    assert (state.verdict is Verdict.SUCCESS) == reached
