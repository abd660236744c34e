"""A person in the agent's seat: what is shown, and what is kept of it."""

import json

import pytest
from typer.testing import CliRunner

import turngym
from guess import Guess
from turngym import TextEnv
from turngym.agents.demonstrate import DemonstratingAgent, with_ids
from turngym.agents.scripted import ScriptedAgent
from turngym.agents.tiny import tiny_tokenizer
from turngym.cli import app
from turngym.serial import read_jsonl
from turngym.trainers.rollout import Group, rollout
from turngym.types import EpisodeStatus, tool, user

turngym.register("tests/Seat-v0", Guess, max_turns=3)

SCHEMA = {
    "type": "function",
    "function": {
        "name": "paint",
        "description": "Paint something.",
        "parameters": {
            "properties": {"what": {"type": "string"}, "colour": {"enum": ["red", "blue"]}},
            "required": ["what", "colour"],
        },
    },
}


class Painter(TextEnv):
    """Paint the door."""

    tools = (SCHEMA,)

    def reset(self, *, seed=None, options=None):
        return (user("Paint the door."),), {"task_id": "door"}

    def step(self, action):
        calls = action.tool_calls
        done = bool(calls) and calls[0].arguments == {"what": "door", "colour": "red"}
        info = {"rewards": {"colour": 1.0, "wood": -0.5}, "turn_reward": 0.25, "feedback": "hm"}
        new = (tool("painted", calls[0].id),) if calls else (user("Well?"),)
        return new, float(done), done, False, info


turngym.register("tests/Painter-v0", Painter)


def run(*arguments, stdin=""):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def target(seed):
    env = turngym.make("tests/Seat-v0")
    env.reset(seed=seed)
    return str(env.target)


def test_a_recorded_game_is_what_a_rollout_would_have_written(tmp_path):
    replies = ["hello", target(4)]
    file = tmp_path / "mine.jsonl"
    done = run("play", "tests/Seat-v0", "--seed", 4, "--record", file, stdin="\n".join(replies))
    assert done.exit_code == 0 and f"recorded in {file}" in done.output
    (mine,) = read_jsonl(file)
    agent = ScriptedAgent(lambda context: replies[len(context.turns)])
    (other,) = rollout(lambda: turngym.make("tests/Seat-v0"), agent, [Group(key="g", seed=4)])
    for name in ("env_id", "task_id", "seed", "status", "closing", "outcome", "success"):
        assert getattr(mine, name) == getattr(other, name), name
    assert mine.fingerprint == other.fingerprint and mine.versions == other.versions
    for one, two in zip(mine.turns, other.turns, strict=True):
        for name in ("seen", "reward", "rewards", "exchange", "status", "anchor", "info"):
            assert getattr(one, name) == getattr(two, name), name
    assert mine.turns[0].status == "invalid_action" and mine.success


def test_a_second_game_is_appended_and_a_broken_off_one_is_not(tmp_path):
    file = tmp_path / "mine.jsonl"
    for seed in (1, 2):
        run("play", "tests/Seat-v0", "--seed", seed, "--record", file, stdin="1\n2\n3\n")
    done = run("play", "tests/Seat-v0", "--record", file, stdin="1\n/quit\n")
    assert "nothing recorded" in done.output
    found = list(read_jsonl(file))
    assert [t.seed for t in found] == [1, 2]
    assert found[0].status is EpisodeStatus.TRUNCATED and found[0].success is False


def test_hints_name_tools_with_their_arguments_and_rewards_are_taken_apart():
    done = run(
        "play", "tests/Painter-v0", stdin='/hint\n/call paint {"what": "door", "colour": "red"}\n'
    )
    assert '/call paint {"what": "string", "colour": "red"}' in done.output
    assert "reward 1, turn reward 0.25, colour 1, wood -0.5" in done.output
    assert "\nhm\n" in done.output and "finished after 1 turns, outcome 1" in done.output


def test_hints_in_the_shop_are_its_buttons_and_every_one_of_them_works():
    env = turngym.make("turngym/WebShop-v0", size="demo")
    env.reset(seed=3)
    assert env.legal_actions == ("search[...]",)
    env.step("search[red shirt]")
    for _ in range(2):
        for action in env.legal_actions[1:]:
            info = env.fork().step(action)[4]
            assert info.get("status", "ok") == "ok", action
        env.step("click[1]")
    done = run("play", "turngym/WebShop-v0", "size=demo", stdin="/hint\n")
    assert "search[...]" in done.output and "the expert would say: search[" in done.output


def test_hints_in_conversational_qa_are_understood():
    env = turngym.make("turngym/ConversationalQA-v0")
    env.reset(seed=0)
    assert env.legal_actions
    for action in env.legal_actions:
        status = env.fork().step(action.replace("...", "words"))[4].get("status", "ok")
        assert status == "ok", action


def test_a_person_can_be_imitated(tmp_path):
    """The ids are those that the demonstrating agent, which training uses, would have made."""
    file = tmp_path / "mine.jsonl"
    replies = ["10", target(4)]
    run("play", "tests/Seat-v0", "--seed", 4, "--record", file, stdin="\n".join(replies))
    (mine,) = read_jsonl(file)
    agent = DemonstratingAgent(lambda context: replies[len(context.turns)], tiny_tokenizer())
    (other,) = rollout(lambda: turngym.make("tests/Seat-v0"), agent, [Group(key="g", seed=4)])
    ours = [turn.completion for turn in with_ids(mine, tiny_tokenizer()).turns]
    theirs = [turn.completion for turn in other.turns]
    for name in ("new_prompt_ids", "reply_ids", "opens_segment"):
        assert [getattr(c, name) for c in ours] == [getattr(c, name) for c in theirs], name


@pytest.mark.slow
def test_fine_tuning_from_a_file(tmp_path):
    replies = ["search[red shirt]", "click[1]", "click[buy now]"]
    file = tmp_path / "mine.jsonl"
    run("play", "turngym/WebShop-v0", "size=demo", "--record", file, stdin="\n".join(replies))
    out = tmp_path / "sft"
    refused = run("sft", "web_shop", "--from", file, "--steps", "2", "--out", out)
    assert refused.exit_code == 2 and "no episode with success = true" in refused.output
    line = json.loads(file.read_text())
    file.write_text(json.dumps({**line, "success": True}) + "\n")
    done = run("sft", "web_shop", "--from", file, "--steps", "2", "--out", out)
    assert done.exit_code == 0 and (out / "model.safetensors").exists()
