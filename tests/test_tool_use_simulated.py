"""CM2's hybrid tool simulator: a recorded call, the schema, a model; and whatever is wrong with a call."""

import asyncio
import json
from dataclasses import replace

import pytest

from turngym.agents.scripted import ScriptedAgent
from turngym.envs.tool_use.dialogues import recorded_calls
from turngym.envs.tool_use.simulated import RecordedCall, SimulatedTools
from turngym.errors import SimulatorFailure
from turngym.types import ToolCall, assistant
from weather import WEATHER


def calling(city="Rome", **more):
    return assistant("", [ToolCall(id="x", name="weather", arguments={"city": city, **more})])


RECORDED = (RecordedCall(call=calling().tool_calls[0], answer='{"sky": "rain"}'),)


def test_a_recorded_call_then_the_schema_then_the_model():
    shown = []

    def script(context):
        shown.append(context.new[-1].content)
        return json.dumps({"analysis": "like Rome", "execution_result": {"sky": "sun"}})

    tools = SimulatedTools([WEATHER], RECORDED, ScriptedAgent(script))
    state, result = tools.call({}, calling().tool_calls[0])
    assert result.value == {"sky": "rain"}
    state, wrong = tools.call(state, calling(day=1).tool_calls[0])
    assert (wrong.code, shown) == ("invalid_arguments", [])
    assert "Did you mean 'days'?" in wrong.details[0]
    state, made = tools.call(state, calling("Bonn").tool_calls[0])
    assert made.value == {"sky": "sun"}
    assert 'weather({"city": "Rome"}) -> {"sky": "rain"}' in shown[0]
    state, _ = tools.call(state, calling("Oslo").tool_calls[0])
    assert 'weather({"city": "Bonn"}) -> {"sky": "sun"}' in shown[1]
    assert [name for name, *_ in state["_calls"]] == ["weather"] * 3


def test_canonical_arguments_and_answers_that_are_plain_text():
    call = ToolCall(id="1", name="weather", arguments={"days": 2, "city": "Rome"})
    tools = SimulatedTools([WEATHER], (RecordedCall(call=call, answer="rain, then sun"),))
    other = replace(call, arguments={"city": "Rome", "days": 2})
    assert tools.call({}, other)[1].value == "rain, then sun"


@pytest.mark.parametrize(
    "reply",
    ["", "rain", '{"execution_result": 1}', '{"execution_result": 1, "analysis": "late"}'],
)
def test_an_answer_that_cannot_be_read_is_a_failure_of_the_simulator(reply):
    tools = SimulatedTools([WEATHER], (), ScriptedAgent(lambda context: reply), attempts=2)
    with pytest.raises(SimulatorFailure, match="in 2 attempts"):
        tools.call({}, calling().tool_calls[0])


def circle():
    made = {}
    made["city"] = made
    return made


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (ToolCall(id="1", name="wether", arguments={}), "unknown_tool"),
        (
            ToolCall(id="1", name="weather", arguments={"city": "x" * 10_000_000}),
            "malformed_arguments",
        ),
        (ToolCall(id="1", name="weather", arguments=circle()), "malformed_arguments"),
        (ToolCall(id="1", name="weather", arguments={"city": float("nan")}), "malformed_arguments"),
        (ToolCall(id="1", name="weather", arguments={"city": {"of": 1}}), "invalid_arguments"),
        (ToolCall(id="1", name="weather", arguments={}), "invalid_arguments"),
        (
            ToolCall(id="1", name="weather", arguments={"city": "a", "days": True}),
            "invalid_arguments",
        ),
        (
            ToolCall(id="1", name="weather", arguments={"city": "a", "days": 1.5}),
            "invalid_arguments",
        ),
    ],
    ids=range(8),
)
def test_whatever_is_wrong_with_a_call_is_a_short_result(call, code):
    state, result = SimulatedTools([WEATHER], RECORDED).call({}, call)
    assert (state, result.code) == ({}, code)
    assert len(result.content) < 1000


def test_calls_and_answers_are_paired_by_id_or_in_order():
    messages = [
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "a", "name": "f", "arguments": {}},
                {"id": "b", "name": "g", "arguments": {}},
            ],
        },
        {"role": "tool", "tool_call_id": "b", "content": "of g"},
        {"role": "tool", "content": "of f"},
    ]
    found = recorded_calls(messages)
    assert [(each.call.name, each.answer) for each in found] == [("g", "of g"), ("f", "of f")]


def test_a_simulator_that_hangs_is_given_up():
    class Slow:
        async def act(self, context, *, sampling, seed):
            await asyncio.sleep(60)

    tools = SimulatedTools([WEATHER], (), Slow(), attempts=1, timeout_s=0.05)
    with pytest.raises(SimulatorFailure, match="no answer in"):
        tools.call({}, calling().tool_calls[0])
