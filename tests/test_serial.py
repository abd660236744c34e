"""Trajectories survive JSON exactly."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.errors import DataError
from turngym.serial import TrajectoryWriter, dumps, loads, read_jsonl
from turngym.types import (
    Completion,
    EpisodeStatus,
    Message,
    Privileged,
    ToolCall,
    Trajectory,
    Turn,
    TurnStatus,
    user,
)

text = st.text(max_size=20)
logprobs = st.floats(-1e4, 0, width=32)


@st.composite
def turns(draw):
    count = draw(st.integers(0, 5))
    calls = st.builds(
        ToolCall, id=text, name=text, arguments=st.dictionaries(text, st.integers() | text)
    )
    message = Message(
        role="assistant",
        content=draw(text),
        reasoning=draw(st.none() | text),
        tool_calls=tuple(draw(st.lists(calls, max_size=2))),
    )
    completion = Completion(
        message=message,
        new_prompt_ids=array("i", draw(st.lists(st.integers(0, 2**31 - 1), max_size=5))),
        reply_ids=array("i", draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))),
        reply_logprobs=array("f", draw(st.lists(logprobs, min_size=count, max_size=count))),
        opens_segment=draw(st.booleans()),
    )
    return Turn(
        seen=(user(draw(text)),),
        completion=completion,
        reward=draw(st.none() | st.floats(-9, 9)),
        status=draw(st.sampled_from(TurnStatus)),
        exchange=draw(st.integers(0, 3)),
    )


trajectories = st.builds(
    Trajectory,
    env_id=text,
    task_id=text,
    episode=text,
    seed=st.integers(0, 2**62),
    group=text,
    turns=st.lists(turns(), max_size=3).map(tuple),
    status=st.sampled_from(EpisodeStatus),
    outcome=st.none() | st.floats(-1, 1),
    privileged=st.builds(Privileged, references=st.lists(text).map(tuple), notes=text),
)


@given(trajectories)
def test_a_round_trip_restores_every_bit(trajectory):
    line = dumps(trajectory)
    assert "\n" not in line
    assert loads(line) == trajectory


def simple(**changes):
    base = {"env_id": "e", "task_id": "t", "episode": "0", "seed": 0, "group": "0", "turns": ()}
    return Trajectory(**{**base, "status": EpisodeStatus.TERMINATED, **changes})


def test_a_half_written_last_line_is_left_out_and_a_broken_middle_one_is_named(tmp_path):
    path = tmp_path / "t.jsonl"
    with TrajectoryWriter(path) as writer:
        writer.write(simple())
    with path.open("a") as file:
        file.write('{"format_version": 1, "env')
    assert len(list(read_jsonl(path))) == 1
    with path.open("ab") as file:
        file.write("ü".encode()[:1])  # killed in the middle of a letter
    assert len(list(read_jsonl(path))) == 1
    path.write_text("nonsense\n" + dumps(simple()) + "\n")
    with pytest.raises(DataError, match="line 1"):
        list(read_jsonl(path))


def test_a_newer_format_says_so():
    line = dumps(simple()).replace('"format_version":1', '"format_version":99')
    with pytest.raises(DataError, match="install a newer"):
        loads(line)


@pytest.mark.parametrize("bad", [float("nan"), object()])
def test_info_that_json_cannot_hold_is_refused_with_the_episode(bad):
    with pytest.raises(DataError, match="episode 0 of e"):
        dumps(simple(rewards={"x": bad}))


def test_logprobs_must_match_the_reply():
    with pytest.raises(ValueError, match="got 1 for 2"):
        Completion(message=user("x"), reply_ids=array("i", [1, 2]), reply_logprobs=array("f", [0]))
