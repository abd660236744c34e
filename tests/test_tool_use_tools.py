"""Tools from typed functions: schemas, strict validation, failures as results, state as plain data."""

from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from turngym.envs.tool_use.state import Change, changes, state_hash
from turngym.envs.tool_use.tools import RefusedError, ToolBox, tool
from turngym.errors import ConfigError, EnvironmentFailure
from turngym.types import ToolCall


@tool(writes=True)
def order(
    state: dict[str, Any],
    count: Annotated[int, Field(description="How many.", ge=1)],
    size: Literal["S", "L"] = "S",
    notes: list[str] | None = None,
) -> dict[str, Any]:
    """Order cups."""
    state["cups"] -= count
    if state["cups"] < 0:
        raise RefusedError("too few cups")
    return {"left": state["cups"]}


@tool()
def price(state: dict[str, Any], weight: float) -> float:
    """What a cup of a weight costs."""
    return 10 / weight


@tool()
def everything(state: dict[str, Any]) -> Any:
    """The state itself, or a set, which is no JSON."""
    return {1, 2} if state["cups"] == 0 else state


BOX = ToolBox((order, price, everything))


def ask(name, arguments, cups=5):
    state = {"cups": cups}
    after, result = BOX.call(state, ToolCall(id="1", name=name, arguments=arguments))
    assert state == {"cups": cups}, "the state that came in must stay as it is"
    return after["cups"], result


def test_the_schema_says_what_the_function_takes():
    function = BOX.schemas[0]["function"]
    assert (function["name"], function["description"]) == ("order", "Order cups.")
    parameters = function["parameters"]
    assert parameters["required"] == ["count"]
    assert parameters["additionalProperties"] is False
    assert parameters["properties"]["count"] == {
        "description": "How many.",
        "minimum": 1,
        "type": "integer",
    }
    assert parameters["properties"]["size"]["enum"] == ["S", "L"]
    assert order.signature == "order(count, size, notes)"


def test_calls_that_fit_run_on_a_copy():
    left, result = ask("order", {"count": 2, "size": "L", "notes": ["blue"]})
    assert (left, result.ok, result.content) == (3, True, '{"left":3}')
    assert ask("price", {"weight": 4})[1].content == "2.5"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({}, "count: Field required"),
        ({"count": "2"}, "count: Input should be a valid integer"),
        ({"count": 2.5}, "count"),
        ({"count": True}, "count: Input should be a valid integer"),
        ({"count": None}, "count"),
        ({"count": 0}, "count: Input should be greater than or equal to 1"),
        ({"count": 1, "size": "M"}, "size: Input should be 'S' or 'L'"),
        ({"count": 1, "sise": "S"}, "sise: Extra inputs are not permitted. Did you mean 'size'?"),
        ({"count": 1, "notes": [1]}, "notes.0"),
        ({"count": 1, "notes": "blue"}, "notes"),
    ],
)
def test_arguments_are_checked_strictly(arguments, part):
    left, result = ask("order", arguments)
    assert (left, result.code) == (5, "invalid_arguments")
    assert result.message == "order takes order(count, size, notes)"
    assert any(line.startswith(part) for line in result.details), result.details


CYCLE: dict[str, Any] = {}
CYCLE["count"] = CYCLE


@pytest.mark.parametrize(
    "arguments",
    [{"count": float("nan")}, {"count": {1, 2}}, CYCLE, {"count": b"x"}, {"count": "x" * 70_000}],
)
def test_what_is_no_json_or_too_long_is_malformed(arguments):
    left, result = ask("order", arguments)
    assert (left, result.code) == (5, "malformed_arguments")
    assert len(result.content) < 1000


def test_a_refusal_undoes_what_the_tool_did_before():
    left, result = ask("order", {"count": 6})
    assert (left, result.code, result.message) == (5, "refused", "too few cups")
    assert result.content == '{"error_tool_call":{"code":"refused","message":"too few cups"}}'


def test_unknown_tools_get_the_closest_name():
    _, result = ask("ordr", {})
    assert (result.code, result.message) == (
        "unknown_tool",
        "there is no tool 'ordr'. Did you mean 'order'?",
    )
    assert len(ask("x" * 10_000, {})[1].content) < 400


def test_a_broken_tool_is_not_the_agents_fault():
    with pytest.raises(EnvironmentFailure, match="'price' broke .* ZeroDivisionError"):
        ask("price", {"weight": 0})
    with pytest.raises(EnvironmentFailure, match="set is not JSON serializable"):
        ask("everything", {}, cups=0)


def test_results_stay_as_they_are_when_the_state_changes():
    state = {"cups": 3}
    _, result = BOX.call(state, ToolCall(id="1", name="everything"))
    state["cups"] = 0
    assert result.value == {"cups": 3}


def test_functions_without_types_or_state_are_refused():
    with pytest.raises(ConfigError, match="'x' of tool 'bare' has no type"):

        @tool()
        def bare(state, x):
            """No type."""

    with pytest.raises(ConfigError, match="needs the state"):

        @tool()
        def alone():
            """No state."""

    with pytest.raises(ConfigError, match="two tools are called 'order'"):
        ToolBox((order, order))


def test_changes_by_hand():
    before = {"a": {"x": 1, "y": [1, 2]}, "gone": None, "same": [0]}
    after = {"a": {"x": True, "y": [1, 3, {"z": 4}]}, "same": [0], "new": {"k": 1}}
    assert changes(before, after) == (
        Change(op="replace", path="/a/x", before=1, after=True),
        Change(op="replace", path="/a/y/1", before=2, after=3),
        Change(op="add", path="/a/y/2", after={"z": 4}),
        Change(op="remove", path="/gone", before=None),
        Change(op="add", path="/new", after={"k": 1}),
    )


plain = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=8,
)


@given(plain, plain)
def test_states_without_changes_are_those_of_equal_hash(one, other):
    assert (changes(one, other) == ()) == (state_hash(one) == state_hash(other))
    assert changes(one, one) == ()
