"""Rewards of tool-using conversations: ToolRL, BFCL's check of calls, end state and outputs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.errors import DataError, JudgeFailure
from turngym.rewards.tool_ast import call_faults, standardised
from turngym.rewards.tool_rl import calls_in, correctness, jaccard, tool_rl_format, tool_rl_reward
from turngym.rewards.tool_state import check_task, end_state, outputs_told, task_solved
from turngym.rewards.tool_steps import communicated, step_of
from turngym.types import (
    Completion,
    EpisodeStatus,
    Privileged,
    ToolCall,
    Trajectory,
    Turn,
    assistant,
)


def call(name, **arguments):
    return ToolCall(id="1", name=name, arguments=arguments)


# ToolRL, by hand: S_max = 1 + sum(1 + parameters), R = 6 S / S_max - 3.
GOLDENS = [
    # Equal: S = 1 + (1 + 2) = S_max = 4.
    ([call("f", a=1, b=2)], [call("f", a=1, b=2)], 3.0),
    # One value of two wrong: S = 1 + 1 + 1 = 3, S_max = 4.
    ([call("f", a=1, b=0)], [call("f", a=1, b=2)], 1.5),
    # One parameter missing: J(params) = 1/2, one value: S = 1 + 1/2 + 1, S_max = 4.
    ([call("f", a=1)], [call("f", a=1, b=2)], 0.75),
    # Another tool: S = 0.
    ([call("g", a=1)], [call("f", a=1)], -3.0),
    # No call at all: J = 0.
    ([], [call("f", a=1)], -3.0),
    # One call too many: J(names) = 1/2, S = 1/2 + 2, S_max = 3.
    ([call("f", a=1), call("g")], [call("f", a=1)], 2.0),
    # Twice the same, wanted once: J = 1/2.
    ([call("f", a=1), call("f", a=1)], [call("f", a=1)], 2.0),
    # Two wanted, the second best for the first: J = 1, S = 1 + 2 + 2, S_max = 5.
    ([call("f", a=2), call("f", a=1)], [call("f", a=1), call("f", a=2)], 3.0),
    # No parameters: J(params) = 1, S = S_max = 2.
    ([call("f")], [call("f")], 3.0),
    # True is not 1: S = 1 + 1, S_max = 3.
    ([call("f", a=True)], [call("f", a=1)], 1.0),
    (None, [call("f")], -3.0),
]


@pytest.mark.parametrize(("calls", "gold", "value"), GOLDENS)
def test_tool_rl_goldens(calls, gold, value):
    assert correctness(calls, gold) == pytest.approx(value)


def test_a_spurious_call_costs_but_in_the_released_preset():
    assert correctness([call("f")], []) == -3.0
    assert correctness([], []) == 0.0
    assert correctness(None, []) == -3.0
    assert correctness([call("f")], [], "released") == 0.0


THOUGHT = "<think> it may need <tool_call> </think>\n"
CALL = '<tool_call>\n{"name": "f", "parameters": {"a": 1}}\n</tool_call>'


def test_tool_rl_reads_format_and_calls_after_the_thought():
    assert tool_rl_reward(THOUGHT + CALL, THOUGHT + CALL) == 4.0
    assert tool_rl_reward(CALL, THOUGHT + CALL) == 3.0
    reply = THOUGHT + "<response> hi </response>"
    assert tool_rl_reward(reply, reply) == 1.0
    assert tool_rl_reward(THOUGHT + CALL, reply) == -3.0
    assert tool_rl_reward(THOUGHT + CALL, reply, "released") == 0.0
    assert calls_in(reply) == ()
    assert calls_in(THOUGHT + CALL.replace("1}", "1")) is None
    with pytest.raises(DataError, match="reference cannot be read"):
        tool_rl_reward(reply, THOUGHT + CALL.replace('"f"', "f"))


@pytest.mark.parametrize(
    "text",
    [
        CALL,
        THOUGHT + CALL + "\n",
        THOUGHT + CALL + "\n" + CALL,
        THOUGHT.rstrip() + CALL,
        THOUGHT + CALL + "\n<response> hi </response>",
    ],
)
def test_tool_rl_format_wants_exactly_the_parts_of_the_reference(text):
    assert tool_rl_format(THOUGHT + CALL, calls=True, reply=False)
    assert not tool_rl_format(text, calls=True, reply=False)


values = st.integers(0, 2) | st.booleans() | st.text("ab", max_size=1)
calls = st.lists(
    st.builds(
        lambda name, arguments: ToolCall(id="1", name=name, arguments=arguments),
        st.sampled_from("fg"),
        st.dictionaries(st.sampled_from("abc"), values, max_size=3),
    ),
    max_size=4,
)


@given(calls, calls)
def test_tool_rl_stays_in_its_range_and_only_equal_calls_earn_the_most(made, gold):
    value = correctness(made, gold)
    assert -3.0 <= value <= 3.0 + 1e-12
    assert correctness(gold, gold) == pytest.approx(3.0 if gold else 0.0)
    names = sorted(each.name for each in made) == sorted(each.name for each in gold)
    if gold and not names:
        assert value < 3.0


@given(st.lists(st.integers(0, 3)), st.lists(st.integers(0, 3)))
def test_jaccard_is_symmetric_and_1_only_for_equal_multisets(one, other):
    assert jaccard(one, other) == jaccard(other, one)
    assert (jaccard(one, other) == 1.0) == (sorted(one) == sorted(other))


SCHEMA = {
    "name": "geo.area",
    "parameters": {
        "type": "dict",
        "properties": {
            "side": {"type": "float"},
            "count": {"type": "integer"},
            "unit": {"type": "string"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "box": {"type": "dict"},
            "exact": {"type": "boolean"},
        },
        "required": ["side"],
    },
}
ANSWER = {
    "geo.area": {
        "side": [2.0],
        "count": [3, ""],
        "unit": ["sq. cm", ""],
        "tags": [["New York", "LA"], ""],
        "box": [{"w": [1, 2], "h": ["", 5]}, ""],
        "exact": [True, ""],
    }
}


@pytest.mark.parametrize(
    "arguments",
    [
        {"side": 2.0},
        {"side": 2},
        {"side": 2, "unit": "SQ CM"},
        {"side": 2, "tags": ["new-york", "l.a."]},
        {"side": 2, "tags": ("New York", "LA")},
        {"side": 2, "box": {"w": 2}},
        {"side": 2, "box": {"w": 1, "h": 5}},
        {"side": 2, "count": 3, "exact": True},
    ],
)
def test_bfcl_accepts(arguments):
    assert call_faults(SCHEMA, ANSWER, call("geo.area", **arguments)) == ()


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({}, "lacks the required 'side'"),
        ({"side": "2"}, "'side' is str, expected float"),
        ({"side": True}, "'side' is bool, expected float"),
        ({"side": 3.0}, "'side' is 3.0, expected one of"),
        ({"side": 2, "count": 3.0}, "'count' is float, expected integer"),
        ({"side": 2, "count": True}, "'count' is bool, expected integer"),
        ({"side": 2, "exact": 1}, "'exact' is int, expected boolean"),
        ({"side": 2, "tags": ["LA", "New York"]}, "'tags' is"),
        ({"side": 2, "tags": [1]}, "'tags' holds a int, expected string"),
        ({"side": 2, "box": {"h": 5}}, "'box' is"),
        ({"side": 2, "box": {"w": 1, "x": 1}}, "'box' is"),
        ({"side": 2, "color": "red"}, "has an unexpected 'color'"),
    ],
)
def test_bfcl_refuses(arguments, fault):
    (found,) = call_faults(SCHEMA, ANSWER, call("geo.area", **arguments))
    assert found.startswith(fault)


def test_bfcl_wants_the_full_name_and_every_parameter_that_is_not_optional():
    assert call_faults(SCHEMA, ANSWER, call("area", side=2)) == (
        "calls 'area', expected 'geo.area'",
    )
    answer = {"geo.area": {"side": [2.0], "count": [3]}}
    assert call_faults(SCHEMA, answer, call("geo.area", side=2)) == (
        "lacks 'count', which is not optional",
    )
    assert standardised("It's a_b^c*/-") == 'it"sabc'


def test_outputs_are_found_as_tau_bench_finds_them():
    replies = ("TOTALS: 8,276.23", "By MasterCard")
    assert communicated(("8276.23", "mastercard", "60"), replies) == {
        "8276.23": True,
        "mastercard": True,
        "60": False,
    }
    # A comma in the output is never found: the reply loses its commas, the output does not.
    assert communicated(("8,276",), ("8,276",)) == {"8,276": False}


def episode(*replies, end="h1", gold="h1", outputs=()):
    def info(reply):
        return {"calls": [], "changes": [], "reply": reply, "state_hash": end}

    return Trajectory(
        env_id="e",
        task_id="t",
        episode="0",
        seed=0,
        group="0",
        turns=tuple(
            Turn(seen=(), completion=Completion(message=assistant(reply)), info=info(reply))
            for reply in replies
        ),
        status=EpisodeStatus.TERMINATED,
        privileged=Privileged(references=outputs, hidden_state={"state_hash": gold}),
    )


def test_task_solved_is_end_state_and_outputs():
    solved = episode("It costs 1,200.", "Bye", outputs=("1200", "bye"))
    assert (task_solved(solved), end_state(solved), outputs_told(solved)) == (1.0, 1.0, 1.0)
    silent = episode("Bye", outputs=("1200", "bye"))
    assert (task_solved(silent), end_state(silent), outputs_told(silent)) == (0.0, 1.0, 0.5)
    wrong = episode("1200", end="h2", outputs=("1200",))
    assert (task_solved(wrong), end_state(wrong), outputs_told(wrong)) == (0.0, 0.0, 1.0)
    assert check_task(wrong).outputs == {"1200": True}
    assert outputs_told(episode("hi")) == 1.0


def test_a_record_without_hashes_is_no_failure_of_the_agent():
    with pytest.raises(JudgeFailure, match="gold state"):
        task_solved(episode("hi", gold=None))
    with pytest.raises(JudgeFailure, match="end state"):
        task_solved(episode())
    with pytest.raises(DataError, match="calls"):
        step_of(Turn(seen=(), completion=Completion(message=assistant("hi"))))
