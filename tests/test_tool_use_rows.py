"""Readers of public tool-use data, on the real files where they are, and the reader of written calls."""

import json
import os
from pathlib import Path

import pytest

from turngym.envs.tool_use.calls import parse_call, parse_calls
from turngym.envs.tool_use.rows import (
    load_bfcl_calls,
    load_bfcl_dialogues,
    load_tool_rl,
    parameter_names,
)
from turngym.errors import DataError
from turngym.rewards.tool_ast import call_faults
from turngym.rewards.tool_rl import calls_in, correctness, tool_rl_reward
from turngym.types import ToolCall

SHARED = Path(
    os.environ.get("TURNGYM_SHARED") or Path(__file__).resolve().parents[1].parent / "shared"
)
DATA = SHARED / "data"
needs_data = pytest.mark.skipif(not (DATA / "bfcl").exists(), reason="the public data is not here")


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("lend(card='M1', book=\"B2\")", "lend", {"card": "M1", "book": "B2"}),
        (
            "a.b.c(x=-1.5, y=[1, {'z': None}], t=(True,))",
            "a.b.c",
            {"x": -1.5, "y": [1, {"z": None}], "t": (True,)},
        ),
        ("sort('f.txt')", "sort", {"file_name": "f.txt"}),
    ],
)
def test_calls_are_read(text, name, arguments):
    call = parse_call(text, {"sort": ["file_name"]})
    assert (call.name, call.arguments) == (name, arguments)


def test_several_calls_are_read_in_order():
    for text in ("[a(x=1), b()]", "a(x=1), b()", "a(x=1)\nb()"):
        assert [(c.id, c.name) for c in parse_calls(text)] == [("call_0", "a"), ("call_1", "b")]


@pytest.mark.parametrize(
    "text",
    [
        "f(x=__import__('os'))",
        "f(x=open('/etc/passwd'))",
        "f(g(x=1))",
        "f(1)",
        "f(**{'x': 1})",
        "f(x=1)(y=2)",
        "x = f(y=1)",
        "import os",
        "f(x=",
        "'text'",
        "",
        "f(x={[]: 1})",
        "f(" + "[" * 5000 + "]" * 5000 + ")",
        "f(x='" + "y" * 10_000_000 + "')",
    ],
)
def test_anything_else_is_refused_and_nothing_runs(text):
    with pytest.raises(DataError):
        parse_call(text)


@needs_data
def test_the_calls_of_every_bfcl_dialogue_are_read():
    names = parameter_names(DATA / "bfcl" / "multi_turn_func_doc")
    base = "BFCL_v4_multi_turn_base.json"
    rows = load_bfcl_dialogues(DATA / "bfcl" / base, DATA / "bfcl/possible_answer" / base, names)
    assert len(rows) == 200
    assert {len(row.questions) for row in rows} == set(range(1, 8))
    assert all(len(row.questions) == len(row.gold_calls) for row in rows)
    sorting = rows[0].gold_calls[2][0]
    assert (sorting.name, sorting.arguments) == ("sort", {"file_name": "final_report.pdf"})
    known = {
        (call.name, key)
        for row in rows
        for turn in row.gold_calls
        for call in turn
        for key in call.arguments
    }
    assert {(name, key) for name, key in known if key not in names.get(name, ())} == set()


@needs_data
@pytest.mark.parametrize("category", ["simple_python", "multiple"])
def test_bfcl_answers_pass_their_own_check_and_altered_ones_do_not(category):
    file = f"BFCL_v4_{category}.json"
    rows = load_bfcl_calls(DATA / "bfcl" / file, DATA / "bfcl/possible_answer" / file)
    refused = {}
    for row in rows:
        gold = gold_call(row)
        if faults := call_faults(row.schema, row.answer, gold):
            refused[row.id] = faults
        other = ToolCall(id="1", name=gold.name, arguments={**gold.arguments, "no_such": 1})
        assert call_faults(row.schema, row.answer, other)
        for key in row.schema["parameters"].get("required", ()):
            short = {k: v for k, v in gold.arguments.items() if k != key}
            assert call_faults(
                row.schema, row.answer, ToolCall(id="1", name=gold.name, arguments=short)
            )
    assert refused == {}


def gold_call(row):
    """The call made of the first value that passes for each parameter."""
    ((name, wanted),) = row.answer.items()

    def first(values):
        value = next((each for each in values if each != ""), None)
        return settled(value)

    def settled(value):
        if isinstance(value, dict):
            return {key: first(values) for key, values in value.items() if values != [""]}
        return [settled(each) for each in value] if isinstance(value, list) else value

    required = row.schema["parameters"].get("required", ())
    arguments = {
        key: first(values) for key, values in wanted.items() if "" not in values or key in required
    }
    return ToolCall(id="1", name=name, arguments=arguments)


@needs_data
def test_every_tool_rl_reference_earns_the_most_and_no_calls_the_least():
    rows = load_tool_rl(DATA / "toolrl" / "rlla_sft.json")
    assert len(rows) == 400
    for row in rows:
        gold = calls_in(row.output)
        assert gold is not None
        best = 4.0 if gold else 1.0
        assert tool_rl_reward(row.output, row.output) == pytest.approx(best)
        assert correctness((), gold) == (-3.0 if gold else 0.0)


def test_broken_files_are_named(tmp_path):
    path = tmp_path / "rows.json"
    with pytest.raises(DataError, match=r"cannot read .*rows\.json"):
        load_tool_rl(path)
    path.write_text('[{"instruction": "a", "input": "b"}]')
    with pytest.raises(DataError, match="row 0: 'output' is NoneType, expected str"):
        load_tool_rl(path)
    path.write_text('{"id": "x"}\n{')
    with pytest.raises(DataError, match="line 2 is no JSON"):
        load_bfcl_calls(path, path)
    path.write_text(json.dumps({"id": "x", "question": [[{"content": "?"}]], "function": []}))
    with pytest.raises(DataError, match="'ground_truth' is NoneType"):
        load_bfcl_calls(path, path)
