"""CM2's checklist rewards: firing, dependencies, back-fill, presets, the turn gate; values by hand."""

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.envs.tool_use.worlds import WORLDS
from turngym.errors import DataError, JudgeFailure
from turngym.rewards.recorded import total
from turngym.rewards.reward import trajectory_value, turn_values
from turngym.rewards.tool_checklist import (
    ChecklistItem,
    backfilled,
    checklist_from_json,
    cm2_exchange,
    cm2_exchange_released,
    cm2_trajectory,
    cm2_trajectory_released,
    cm2_turn,
    cm2_turn_backfilled,
    exchange_value,
    fire,
    strict_satisfied,
    verdicts,
)
from turngym.rewards.tool_steps import (
    AllOf,
    Called,
    CallMade,
    Changed,
    Says,
    Step,
    Untouched,
    holds,
)
from turngym.types import Completion, EpisodeStatus, Privileged, Trajectory, Turn, assistant

TOOLS, WORDS = ("assistant.tool_calls",), ("assistant.content.user_visible_reply",)


def item(id, check=None, *, weight=0.25, after=(), strict=True, focus=TOOLS):
    return ChecklistItem(
        id=id,
        question="?",
        check=check or Called(name=id),
        weight=weight,
        focus_on=focus,
        dependence=after,
        required_for_next_turn=strict,
    )


ITEMS = (
    item("find"),
    item("book", after=("find",)),
    item("pay", after=("book",), strict=False),
    item("say", Says(any_of=("done",)), focus=WORDS, after=("find",)),
)
T, F = True, False


def test_items_fire_once_and_after_what_they_depend_on():
    table = [
        #    find book pay say
        (F, T, F, T),  # nothing is found yet: neither counts
        (T, T, F, F),  # book waits for an earlier step
        (T, T, F, F),
        (F, F, T, T),
        (T, T, T, T),
    ]
    assert fire(ITEMS, table) == (1, 2, 3, 3)
    assert exchange_value(ITEMS, table) == 1.0


def test_what_is_never_enabled_never_fires_but_counts_when_released():
    table = [(F, T, F, F), (F, F, T, T)]
    assert fire(ITEMS, table) == (None,) * 4
    assert exchange_value(ITEMS, table, "paper") == 0.0
    assert exchange_value(ITEMS, table, "released") == 0.75


def test_back_fill_credits_every_step_up_to_the_completing_one():
    assert backfilled((1, None, 0), 3) == ((T, F, T), (T, F, F), (F, F, F))


def test_the_gate_asks_for_strict_items_only():
    assert strict_satisfied(ITEMS, (0, 1, None, 2))
    assert not strict_satisfied(ITEMS, (0, None, 1, 2))


def test_an_error_of_a_tool_fails_the_items_about_tools_in_that_step():
    good, bad = CallMade(name="find"), CallMade(name="book", ok=False)
    step = Step(calls=(good, bad), reply="done")
    assert verdicts(ITEMS, [step]) == ((F, F, F, T),)
    assert verdicts(ITEMS, [Step(calls=(good,))]) == ((T, F, F, F),)


def test_predicates_hold_for_what_the_last_step_did():
    called = Called(name="book", arguments={"day": "Fri"})
    made = CallMade(name="book", arguments={"day": "Fri", "hour": 9})
    assert holds(called, [Step(calls=(made,))])
    assert not holds(called, [Step(calls=(made,)), Step(reply="done")])
    assert not holds(called, [Step(calls=(CallMade(name="book", arguments={"day": "Thu"}),))])
    assert not holds(called, [Step(calls=(CallMade(name="book", arguments={}),))])
    failed = CallMade(name="book", arguments={"day": "Fri"}, ok=False)
    assert not holds(called, [Step(calls=(failed,))])
    assert holds(Says(any_of=("no", "1200")), [Step(reply="It is 1,200.")])
    assert not holds(Says(any_of=("no",)), [Step(reply="Yes.")])
    gone = Changed(path="/a/b", value=None)
    assert holds(gone, [Step(changes={"/a/b": None})])
    assert not holds(gone, [Step(changes={})])
    assert holds(
        AllOf(checks=(gone, Untouched())),
        [Step(reply="ok", changes={"/a/b": None})],
        {"/a/b": None},
    )
    assert not holds(Untouched(), [Step(reply="ok", changes={"/a/b": None})])
    assert not holds(Untouched(), [Step(reply="")])


def turn(exchange, *calls, reply=""):
    info = {"calls": [asdict(CallMade(name=n)) for n in calls], "reply": reply, "changes": []}
    completion = Completion(message=assistant(reply))
    return Turn(seen=(), completion=completion, exchange=exchange, info=info)


DIALOGUE = (ITEMS, (item("pay", weight=1.0),), (item("book", weight=1.0),))


def episode(*turns, checklist=DIALOGUE):
    data = None if checklist is None else [[asdict(each) for each in items] for items in checklist]
    return Trajectory(
        env_id="e",
        task_id="t",
        episode="0",
        seed=0,
        group="0",
        turns=turns,
        status=EpisodeStatus.TERMINATED,
        privileged=Privileged(hidden_state={"checklist": data} if data else {}),
    )


PLAYED = episode(
    turn(0, "pay"),  # too early: its dependence is open
    turn(0, "find"),
    turn(0, "book"),
    turn(0, reply="Done."),
    turn(1, "pay"),
    turn(1, reply="Paid."),
)  # the third exchange is never reached


def test_rewards_of_a_dialogue_by_hand():
    assert turn_values(cm2_turn, PLAYED) == (0, 0.25, 0.25, 0.25, 1.0, 0)
    # find is credited up to turn 1, book up to 2, say up to 3.
    assert turn_values(cm2_turn_backfilled, PLAYED) == (0.75, 0.75, 0.5, 0.25, 1.0, 0)
    assert turn_values(cm2_exchange, PLAYED) == (None, None, None, 0.75, None, 1.0)
    assert turn_values(cm2_exchange_released, PLAYED) == (None, None, None, 1.0, None, 1.0)
    assert trajectory_value(cm2_trajectory, PLAYED) == 1.75
    assert trajectory_value(cm2_trajectory_released, PLAYED) == pytest.approx(2 / 3)


def test_turn_rewards_sum_to_those_of_the_trajectory():
    summed = trajectory_value(total(cm2_turn), PLAYED)
    assert summed == trajectory_value(cm2_trajectory, PLAYED)


tables = st.lists(st.tuples(*[st.booleans()] * 4), min_size=1, max_size=6)


@given(tables)
def test_properties_of_firing(table):
    fired = fire(ITEMS, table)
    place = dict(zip([each.id for each in ITEMS], fired, strict=True))
    for each, row in zip(ITEMS, fired, strict=True):
        if row is not None:
            assert table[row][ITEMS.index(each)]
            assert all((place[other] or 0) < row for other in each.dependence)
            assert None not in [place[other] for other in each.dependence]
    assert exchange_value(ITEMS, table, "paper") <= exchange_value(ITEMS, table, "released")
    longer = [*table, (T, T, T, T)]
    assert fire(ITEMS, longer)[: len(fired)] == tuple(
        now if was is None else was for was, now in zip(fired, fire(ITEMS, longer), strict=True)
    )
    credit = backfilled(fired, len(table))
    assert all(
        above[c] >= below[c]
        for above, below in zip(credit, credit[1:], strict=False)
        for c in range(4)
    )


def test_a_record_without_checklist_is_no_failure_of_the_agent():
    with pytest.raises(JudgeFailure, match="no checklist"):
        cm2_trajectory(episode(turn(0), checklist=None))


def test_bundled_checklists_survive_json():
    for world in WORLDS.values():
        for name in world.templates:
            requests = world.task(f"{world.name}/{name}/0").requests
            items = tuple(request.items for request in requests)
            assert checklist_from_json([[asdict(each) for each in row] for row in items]) == items


def broken(**changes):
    row = asdict(item("find", weight=1.0))
    return [[{**row, **changes}]]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ([], "at least one exchange"),
        (broken(weight=0.5), "weights sum to 0.5"),
        (broken(dependence=["other"]), "depends on"),
        (broken(dependence=["find"]), "depends on itself"),
        (broken(check={"kind": "asked"}), "no checklist"),
        (broken(color="red"), "color"),
        (broken(check={"kind": "called", "name": "f", "argument": {}}), "argument"),
        (broken(weight=float("nan")), "weights sum to nan"),
        (broken(focus_on=["nowhere"]), "no checklist"),
        ([[asdict(item("a", weight=0.5)), asdict(item("a", weight=0.5))]], "twice"),
        (
            [
                [
                    asdict(item("a", weight=0.5, after=("b",))),
                    asdict(item("b", weight=0.5, after=("a",))),
                ]
            ],
            "depends on itself",
        ),
        (
            [
                [
                    asdict(item("a", Says(any_of=("x",)), weight=0.5, focus=WORDS)),
                    asdict(item("b", weight=0.5, after=("a",))),
                ]
            ],
            "focus on tools",
        ),
        ("text", "no checklist"),
    ],
)
def test_broken_checklists_are_refused(data, match):
    with pytest.raises(DataError, match=match):
        checklist_from_json(data)
