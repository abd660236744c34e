"""Rewards of software-engineering episodes: values by hand, laws under hypothesis."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.errors import JudgeFailure
from turngym.rewards.reward import TrajectoryReward, turn_values
from turngym.rewards.rubric import Rubric, Weighted
from turngym.rewards.swe import (
    DiagnosticDelta,
    ThreeBranch,
    gated_steps,
    swe_format,
    swe_localisation,
    swe_tests,
    swe_tool,
)
from turngym.types import Completion, EpisodeStatus, Privileged, Trajectory, Turn, assistant


def episode(*infos, files=(), outcome=0.0, rewards=None):
    turns = tuple(
        Turn(
            seen=(),
            completion=Completion(message=assistant("x")),
            rewards=(rewards or [{}] * len(infos))[i],
            info=info,
        )
        for i, info in enumerate(infos)
    )
    return Trajectory(
        env_id="turngym/SWE-v0",
        task_id="t",
        episode="0/0/0",
        seed=0,
        group="0/0",
        turns=turns,
        status=EpisodeStatus.TERMINATED,
        outcome=outcome,
        success=outcome == 1,
        privileged=Privileged(hidden_state={"files": list(files)}),
    )


def test_format_and_tool_are_what_the_environment_recorded():
    played = episode({}, {}, rewards=[{"format": 1.0, "tool": 0.0}, {}])
    assert swe_format(played) == (1.0, None) and swe_tool(played) == (0.0, None)


def test_localisation_counts_each_file_once():
    # Two files to change: turn 1 names one, turn 2 the same again, turn 3 the other and a third.
    played = episode(
        {"named": ["a.py", "x.py"]},
        {"named": ["a.py"]},
        {"named": ["b.py"]},
        {},
        files=["a.py", "b.py"],
    )
    assert swe_localisation(played) == (0.5, 0.0, 0.5, 0.0)
    assert swe_localisation(episode({"named": ["a.py"]})) == (None,)


def test_running_tests_again_earns_nothing():
    # 1 of 4, nothing, 3 of 4, 3 of 4, 2 of 4: differences of the share at the last run.
    runs = [(1, 3), None, (3, 1), (3, 1), (2, 2)]
    infos = [{"tests": {"passed": r[0], "failed": r[1]}} if r else {} for r in runs]
    assert swe_tests(episode({}, *infos)) == (0.0, 0.0, 0.0, 0.5, 0.0, -0.25)
    assert swe_tests(episode({}, {})) == (0.0, 0.0)


counts = st.tuples(st.integers(0, 9), st.integers(0, 9))


@given(st.lists(st.none() | counts, min_size=1, max_size=8))
def test_test_rewards_add_up_to_last_minus_first(runs):
    infos = [{"tests": {"passed": r[0], "failed": r[1]}} if r else {} for r in runs]
    shares = [r[0] / sum(r) for r in runs if r and sum(r)]
    wanted = shares[-1] - shares[0] if shares else 0.0
    found = [value for value in swe_tests(episode(*infos)) if isinstance(value, float)]
    assert len(found) == len(runs) and sum(found) == pytest.approx(wanted)


def turn(before, after, *edits):
    made = [{"path": "a", "matches": n, "ok": ok} for n, ok in edits]
    return {"diagnostics": [before, after], "edits": made}


@pytest.mark.parametrize(
    ("info", "value"),
    [
        (turn(3, 1, (1, True)), 0.5 * 2 + 0.4),
        (turn(0, 0, (2, False)), -0.05),  # the counter-example to r >= 0: confidence 1/2
        (turn(0, 1, (4, False)), -0.5 - 0.1 * 0.75),
        (turn(2, 2, (0, False)), -0.1),  # the text is nowhere
        (turn(2, 2), 0.0),  # a turn that only looks
        (turn(2, 1, (1, True), (2, False)), 0.5 - 0.05),  # one of two edits fails: not safe
        ({"edits": []}, None),  # nothing was counted
    ],
)
def test_diagnostic_deltas_by_hand(info, value):
    (found,) = DiagnosticDelta()(episode(info))
    assert found == (None if value is None else pytest.approx(value))


@given(st.lists(st.integers(0, 20), min_size=2, max_size=8))
def test_diagnostic_deltas_without_edits_telescope(levels):
    infos = [turn(a, b) for a, b in zip(levels, levels[1:], strict=False)]
    total = sum(value or 0.0 for value in DiagnosticDelta()(episode(*infos)))
    assert total == pytest.approx(0.5 * (levels[0] - levels[-1]))


SUBMITTED = {"verdict": "unresolved"}


@pytest.mark.parametrize(
    ("info", "outcome", "score", "value"),
    [
        (SUBMITTED, 1.0, 0.75, 1.75),
        (SUBMITTED, 0.2, 0.75, 0.75),
        ({}, 0.0, 0.75, 0.25),
        (SUBMITTED, 1.0, None, 1.0),
        (SUBMITTED, 0.2, None, 0.0),
        ({}, 0.0, None, -0.5),
    ],
)
def test_three_branches_by_hand(info, outcome, score, value):
    scorer = None if score is None else TrajectoryReward("scorer", lambda t: score)
    assert ThreeBranch(score=scorer)(episode(info, outcome=outcome)) == value


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_scorer_never_lifts_an_unfinished_episode_over_a_resolved_one(one, two, three):
    def of(score, info, outcome):
        return ThreeBranch(score=TrajectoryReward("s", lambda t: score))(
            episode(info, outcome=outcome)
        )

    resolved, failed, unfinished = (
        of(one, SUBMITTED, 1.0),
        of(two, SUBMITTED, 0.2),
        of(three, {}, 0.0),
    )
    assert resolved >= failed and resolved > unfinished


def test_a_score_that_is_no_probability_is_the_judges_failure():
    with pytest.raises(JudgeFailure, match="lies in"):
        ThreeBranch(score=TrajectoryReward("s", lambda t: 3.0))(episode({}))


@pytest.mark.parametrize(
    ("outcome", "comparator", "counted"),
    [(0.0, ">=", False), (0.1, ">=", False), (0.2, ">=", True), (1.0, ">=", True)]
    + [(0.2, ">", False), (1.0, ">", True)],
)
def test_steps_count_only_behind_the_gate(outcome, comparator, counted):
    played = episode(
        {"named": ["a.py"]}, {}, files=["a.py"], outcome=outcome, rewards=[{"format": 1.0}] * 2
    )
    terms = gated_steps(
        Weighted(reward=swe_localisation, weight=0.5),
        Weighted(reward=swe_format, weight=0.1),
        threshold=0.2,
        comparator=comparator,
    )
    done = Rubric(terms=terms).apply(played)
    # turn 1: 0.5 * 1 + 0.1 * 1, turn 2: 0.5 * 0 + 0.1 * 1; the outcome stays what it was
    wanted = [0.6, 0.1] if counted else [0.0, 0.0]
    assert [t.reward for t in done.turns] == pytest.approx(wanted) and done.outcome == outcome
    assert done.turns[0].rewards["swe_localisation"] == 1.0  # ungated, for the log
    assert turn_values(swe_localisation, played) == (1.0, 0.0)
