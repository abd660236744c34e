"""Other people's formats: exact round trips, checked by the packages that own the formats."""

import dataclasses
import json
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from reports import episode, group, tool_episode, write, write_run
from turngym.cli import app
from turngym.errors import DataError
from turngym.formats import (
    features,
    from_atif,
    from_chat,
    from_pair,
    from_row,
    pairs,
    to_atif,
    to_chat,
    to_pair,
    to_row,
)
from turngym.report.records import Kept, card, record
from turngym.serial import read_jsonl
from turngym.triage import TAXONOMY, triage
from turngym.types import (
    Completion,
    EpisodeStatus,
    Message,
    Privileged,
    ToolCall,
    Trajectory,
    Turn,
    TurnStatus,
    tool,
    user,
)

words = st.text(max_size=12)
numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)
calls = st.builds(
    ToolCall, id=words, name=words, arguments=st.dictionaries(words, plain, max_size=2)
)
heard = st.lists(
    st.builds(
        Message,
        role=st.sampled_from(["system", "user"]),
        content=words,
        name=st.none() | words,
    )
    | st.builds(
        Message,
        role=st.just("tool"),
        content=words,
        tool_call_id=st.none() | st.text(min_size=1, max_size=3),
        name=st.none() | words,
    ),
    max_size=3,
).map(tuple)


@st.composite
def completions(draw):
    ids = draw(st.lists(st.integers(0, 2**31 - 1), max_size=4))
    return Completion(
        message=Message(
            role="assistant",
            content=draw(words),
            reasoning=draw(st.none() | words),
            tool_calls=tuple(draw(st.lists(calls, max_size=2, unique_by=lambda c: c.id))),
        ),
        new_prompt_ids=draw(st.lists(st.integers(0, 99), max_size=3)) if ids else [],
        reply_ids=ids,
        reply_logprobs=[draw(numbers) for _ in ids],
        opens_segment=draw(st.booleans()),
        finish_reason=draw(st.sampled_from(["stop", "length"])),
        policy_version=draw(st.integers(0, 9)),
        temperature=draw(st.floats(0, 2)),
        seconds=draw(st.floats(0, 9)),
    )


turns = st.builds(
    Turn,
    seen=heard,
    completion=completions(),
    reward=st.none() | st.floats(-1, 1),
    rewards=st.dictionaries(words, st.floats(-1, 1), max_size=2),
    exchange=st.integers(0, 5),
    status=st.sampled_from(TurnStatus),
    feedback=words,
    anchor=words,
    info=st.dictionaries(words, plain, max_size=2),
    drops=st.lists(st.integers(0, 3), max_size=2).map(tuple),
)


def test_every_field_of_a_turn_and_a_trajectory_is_drawn():
    """So that a field that is added later is not lost without a test that fails."""
    drawn = {"seen", "completion", "reward", "rewards", "exchange", "status", "feedback", "anchor"}
    assert {f.name for f in dataclasses.fields(Turn)} == drawn | {"info", "drops"}


trajectories = st.builds(
    Trajectory,
    env_id=words,
    task_id=words,
    episode=st.text(min_size=1, max_size=5),
    seed=st.integers(0, 2**63 - 1),
    group=st.text(min_size=1, max_size=5),
    turns=st.lists(turns, max_size=3).map(tuple),
    status=st.sampled_from(EpisodeStatus),
    closing=heard,
    tools=st.lists(st.dictionaries(words, plain, max_size=2), max_size=2).map(tuple),
    outcome=st.none() | st.floats(-1, 1),
    success=st.none() | st.booleans(),
    rewards=st.dictionaries(words, st.floats(-1, 1), max_size=2),
    privileged=st.builds(
        Privileged,
        references=st.lists(words, max_size=2).map(tuple),
        hidden_state=st.dictionaries(words, plain, max_size=2),
        notes=words,
    ),
    error=words,
    seconds=st.floats(0, 9),
    versions=st.dictionaries(words, words, max_size=1),
)


def through_json(data):
    return json.loads(json.dumps(data, allow_nan=False))


@settings(deadline=None, max_examples=40)
@given(trajectories)
def test_triage_and_report_take_any_trajectory(trajectory):
    found = triage(trajectory)
    assert 0 <= found.score <= 100
    last = max(len(trajectory.turns) - 1, 0)
    assert all(0 <= s.turn <= last and s.kind in TAXONOMY[s.category] for s in found.signals)
    assert card(trajectory, {}).quality == found.score
    shown = record(trajectory, Kept(credits={}), lambda token: f"#{token}")
    assert len(through_json(dataclasses.asdict(shown))["turns"]) == len(trajectory.turns)


@settings(deadline=None, max_examples=40)
@given(trajectories)
def test_atif_comes_back_exactly(trajectory):
    assert from_atif(through_json(to_atif(trajectory, privileged=True))) == trajectory


@settings(deadline=None, max_examples=40)
@given(trajectories)
def test_rows_come_back_exactly(trajectory):
    assert from_row(through_json(to_row(trajectory, privileged=True))) == trajectory


@settings(deadline=None, max_examples=20)
@given(trajectories)
def test_atif_is_what_the_schema_says(trajectory):
    models = pytest.importorskip("atif", reason="needs the package atif")
    document = through_json(to_atif(trajectory, privileged=True))
    read = models.Trajectory.model_validate(document)
    assert from_atif(read.to_json_dict()) == trajectory


@pytest.mark.parametrize("write_out", [to_atif, to_row])
def test_hidden_answers_stay_out_unless_asked_for(write_out):
    secret = Privileged(references=("the answer is 42",), notes="hush")
    trajectory = dataclasses.replace(episode("0"), privileged=secret)
    assert "the answer" not in json.dumps(write_out(trajectory))
    assert "the answer is 42" in json.dumps(write_out(trajectory, privileged=True))


def test_atif_by_hand():
    document = to_atif(tool_episode())
    assert [step["source"] for step in document["steps"]] == ["user", "agent", "agent", "user"]
    first = document["steps"][1]
    assert first["step_id"] == 2 and first["reasoning_content"] == "hm"
    assert first["tool_calls"] == [
        {
            "tool_call_id": "c1",
            "function_name": "search",
            "arguments": {"query": "red shoes", "limit": 3},
        }
    ]
    (result,) = first["observation"]["results"]
    assert (result["source_call_id"], result["content"]) == ("c1", "No results found")


def test_atif_prompts_are_whole():
    document = to_atif(episode("0"))
    agent = [step["metrics"] for step in document["steps"] if step["source"] == "agent"]
    assert agent[0]["prompt_token_ids"] == [1, 2]
    assert agent[1]["prompt_token_ids"] == [1, 2, 5, 6, 7, 1, 2]
    assert document["final_metrics"]["total_completion_tokens"] == 6


def test_an_atif_document_of_another_program():
    # Written by hand after the specification, as a program that is not ours would.
    document = {
        "schema_version": "ATIF-v1.6",
        "session_id": "s-1",
        "agent": {"name": "openhands", "version": "1.0", "model_name": "m"},
        "steps": [
            {"step_id": 1, "source": "system", "message": "Be brief."},
            {"step_id": 2, "source": "user", "message": [{"type": "text", "text": "What time?"}]},
            {
                "step_id": 3,
                "source": "agent",
                "message": "",
                "tool_calls": [{"tool_call_id": "c", "function_name": "now", "arguments": {}}],
                "observation": {"results": [{"source_call_id": "c", "content": "12:00"}]},
                "metrics": {
                    "prompt_token_ids": [1, 2],
                    "completion_token_ids": [3],
                    "logprobs": [-0.5],
                },
            },
            {
                "step_id": 4,
                "source": "agent",
                "message": "Noon.",
                "metrics": {"prompt_token_ids": [1, 2, 3, 4], "completion_token_ids": [5, 6]},
            },
        ],
    }
    found = from_atif(document)
    assert found.env_id == "openhands" and found.status is EpisodeStatus.TERMINATED
    assert [m.content for m in found.turns[0].seen] == ["Be brief.", "What time?"]
    assert found.turns[1].seen == (tool("12:00", "c"),)
    assert [t.completion.opens_segment for t in found.turns] == [True, False]
    assert found.turns[1].completion.new_prompt_ids == array("i", [4])
    atif = pytest.importorskip("atif", reason="needs the package atif")
    atif.Trajectory.model_validate({**document, "schema_version": "ATIF-v1.8"})


@pytest.mark.parametrize(
    "document", [{}, {"schema_version": "2"}, {"schema_version": "ATIF-v1.8", "steps": [{}]}]
)
def test_what_is_no_atif_is_refused(document):
    with pytest.raises(DataError):
        from_atif(document)


def test_rows_through_datasets_and_parquet(tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs the package datasets")
    # Rows with other keys, empty lists and Nones: what an inferred schema would trip over.
    stored = [tool_episode(), episode("1"), episode("2", None, replies=(), success=None)]
    table = datasets.Dataset.from_list([to_row(t) for t in stored], features=features())
    table.to_parquet(tmp_path / "rows.parquet")
    read = datasets.Dataset.from_parquet(str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path))
    assert [from_row(row) for row in read] == stored
    assert read.column_names[0] == "env_id" and read[0]["messages"][0]["content"] == "Find shoes."


def test_sft_rows_are_conversations_and_come_back():
    row = through_json(to_chat(tool_episode()))
    assert [m["role"] for m in row["messages"]] == ["user", "assistant", "tool", "assistant"]
    assert row["messages"][1]["tool_calls"][0]["function"]["arguments"]["limit"] == 3
    again = from_chat(row)
    assert to_chat(again) == row
    assert [t.completion.message for t in again.turns] == [
        t.completion.message for t in tool_episode().turns
    ]


def test_arguments_as_a_string_are_read_too():
    call = {"id": "1", "function": {"name": "f", "arguments": '{"a": 1}'}}
    row = {"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]}
    (turn,) = from_chat(row).turns
    assert turn.completion.message.tool_calls[0].arguments == {"a": 1}


@pytest.mark.parametrize("row", [{}, {"messages": []}, {"messages": [{"role": "x"}]}])
def test_what_is_no_conversation_is_refused(row):
    with pytest.raises(DataError):
        from_chat(row)


def test_pairs_share_a_beginning_and_part_at_a_reply():
    # Two episodes that agree on the first reply; the pages of each name the episode, so give one.
    def made(name, outcome, last):
        base = episode(name, outcome, replies=("search[a]", last))
        seen = [dataclasses.replace(t, seen=(user(f"page {i}"),)) for i, t in enumerate(base.turns)]
        return dataclasses.replace(base, turns=tuple(seen))

    worst, middle, best = made("0", 0.0, "no"), made("1", 0.5, "hm"), made("2", 1.0, "yes")
    (pair,) = pairs([worst, best, middle])
    assert (pair.chosen, pair.rejected, pair.shared) == (best, worst, 3)
    row = to_pair(pair)
    assert [m["content"] for m in row["prompt"]] == ["page 0", "search[a]", "page 1"]
    assert [m["content"] for m in row["chosen"]] == ["yes"]
    assert pairs([worst, middle], margin=0.5) == []
    chosen, rejected = from_pair(through_json(row))
    assert to_pair(pairs([chosen, rejected])[0]) == row


def test_failures_of_others_are_in_no_pair():
    broken = episode("0", None, status=EpisodeStatus.ENV_ERROR, success=None)
    assert pairs([broken, episode("1", 1.0)]) == []
    assert pairs([episode("0", 1.0, group="a"), episode("1", 0.0, group="b")]) == []


def command(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("kind", "name"),
    [("atif", "a.jsonl"), ("atif", "folder"), ("rows", "r.jsonl"), ("rows", "r.parquet")],
)
def test_the_commands_there_and_back(tmp_path, kind, name):
    if name.endswith("parquet"):
        pytest.importorskip("datasets", reason="needs the package datasets")
    stored = [*group("0/0", [1.0, 0.0]), tool_episode()]
    write(tmp_path / "in.jsonl", stored)
    done = command("export", tmp_path / "in.jsonl", "--format", kind, "--out", tmp_path / name)
    assert done.exit_code == 0 and "3 trajectories" in done.output
    back = command("import", tmp_path / name, "--format", kind, "--out", tmp_path / "out.jsonl")
    assert back.exit_code == 0, back.output
    assert list(read_jsonl(tmp_path / "out.jsonl")) == stored
    again = command("export", tmp_path / "in.jsonl", "--format", kind, "--out", tmp_path / name)
    assert again.exit_code == 2 and "exists already" in again.output


def test_training_data_of_a_run_leaves_held_out_tasks_alone(tmp_path):
    run = write_run(
        tmp_path / "run",
        [group("0/0", [1.0, 0.0]), group("1/0", [0.5, 0.5])],
        evaluations={"000002-after-1": [episode("held out", 1.0)]},
    )
    sft = tmp_path / "sft.jsonl"
    done = command("export", run, "--format", "sft", "--min-outcome", "1", "--out", sft)
    assert "1 trajectories" in done.output
    (row,) = map(json.loads, sft.read_text().splitlines())
    assert row["messages"][0]["content"] == "page 0 of 0/0/0"
    done = command("export", run, "--format", "preference", "--out", tmp_path / "p.jsonl")
    assert "0 pairs" in done.output  # the pages differ from the first message on
    assert command("export", run, "--format", "sft", "--out", tmp_path / "x.parquet").exit_code == 2


def test_trl_reads_the_conversations():
    """The chat template of a real tokenizer takes them, as TRL's trainers do."""
    pytest.importorskip("transformers")
    from turngym.agents.tiny import tiny_tokenizer

    text = tiny_tokenizer().apply_chat_template(to_chat(episode("0"))["messages"], tokenize=False)
    assert "click[a]" in text and "page 1 of 0" in text
