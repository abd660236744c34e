"""One line of text names an agent, on the command line too."""

import asyncio
import json
import subprocess
import sys

import pytest

pytest.importorskip("aiohttp")

from typer.testing import CliRunner

from stub_server import says, serving
from turngym.agents.load import load_agent
from turngym.cli import app
from turngym.errors import ConfigError, DataError, TurnGymError
from turngym.types import Context, Sampling, user

SHOP = ["turngym/WebShop-v0", "size=demo", "--episodes", "3"]


def ask(agent, context, seed=0):
    return asyncio.run(agent.act(context, sampling=Sampling(), seed=seed)).message


def context(**kwargs):
    return Context(episode="e", new=(user("red\n\nblue"),), **kwargs)


def test_random_says_given_replies_lines_or_calls_tools_by_seed():
    assert {ask(load_agent("random:a|b"), context(), s).content for s in range(9)} == {"a", "b"}
    assert {ask(load_agent("random"), context(), s).content for s in range(9)} == {"red", "blue"}
    schema = {
        "colour": {"type": "string", "enum": ["x", "y"]},
        "count": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "boolean"}},
        "word": {"type": "string"},
    }
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": schema}}}
    message = ask(load_agent("random"), context(tools=(tool,)), 1)
    (call,) = message.tool_calls
    assert call.arguments["colour"] in ("x", "y") and call.arguments["word"] in ("red", "blue")
    assert type(call.arguments["count"]) is int and type(call.arguments["tags"][0]) is bool
    assert message == ask(load_agent("random"), context(tools=(tool,)), 1)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("rndom", "Did you mean 'random'?"),
        ("http://localhost:8000/v1", "#MODEL"),
        ("http:", "#MODEL"),
        ("http://h/v1?key=NO_SUCH_VARIABLE#m", "NO_SUCH_VARIABLE is not set"),
        ("http://h/v1?token=x#m", "only \\?key="),
        ("replay:/no/such/file", "no file"),
        ("record:", "record:FILE:AGENT"),
        ("tiny:nothing", "web_shop"),
        ("hf:/no/such/folder", "no model folder"),
    ],
)
def test_a_wrong_spec_says_how_a_right_one_looks(spec, message):
    with pytest.raises(TurnGymError, match=message):
        load_agent(spec)


@pytest.mark.parametrize(
    ("query", "variables", "sent"),
    [
        ("", {"TURNGYM_API_KEY": "ours"}, "Bearer ours"),
        ("?key=MINE", {"TURNGYM_API_KEY": "ours", "MINE": "mine"}, "Bearer mine"),
        # The key of one provider must not reach another.
        ("", {"OPENAI_API_KEY": "theirs"}, None),
    ],
)
def test_keys_come_from_the_environment_and_reach_only_their_owner(
    monkeypatch, query, variables, sent
):
    for name in ("TURNGYM_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with serving(says()) as stub:
        ask(load_agent(f"{stub.url}{query}#org/model"), context())
    assert stub.headers[0].get("Authorization") == sent
    assert stub.bodies[0]["model"] == "org/model"


def test_a_recorded_endpoint_is_replayed_without_it(tmp_path):
    cache = tmp_path / "c.jsonl"
    with serving(says("search[shoes]")) as stub:
        recorded = ask(load_agent(f"record:{cache}:{stub.url}#m"), context())
    assert ask(load_agent(f"replay:{cache}"), context()) == recorded


def invoke(*args):
    done = CliRunner().invoke(app, args)
    return done.exit_code, done.output


def test_the_command_line_plays_records_and_replays(tmp_path):
    out, again = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    code, _ = invoke("rollout", *SHOP, "--agent", "random", "--out", str(out))
    assert code == 0
    code, text = invoke("rollout", *SHOP, "--agent", f"replay:{out}", "--out", str(again))
    assert code == 0, text

    def said(path):
        rows = map(json.loads, path.read_text().splitlines())
        return {row["episode"]: [t["completion"]["message"] for t in row["turns"]] for row in rows}

    assert said(out) == said(again)
    code, text = invoke("rollout", *SHOP, "--split", "dev", "--agent", f"replay:{out}")
    assert code == 1 and "not among the 3 recorded" in text


def test_an_episode_that_was_not_recorded_is_named(tmp_path):
    out = tmp_path / "a.jsonl"
    assert invoke("rollout", *SHOP, "--agent", "random", "--out", str(out))[0] == 0
    with pytest.raises(TurnGymError, match="not among the 3 recorded"):
        ask(load_agent(f"replay:{out}"), context())


def test_watching_an_agent_play_shows_its_replies():
    with serving(says("search[red shoes]")) as stub:
        code, text = invoke("play", SHOP[0], SHOP[1], "max_turns=2", "--agent", f"{stub.url}#m")
    assert code == 0 and text.count("> search[red shoes]") == 2 and "outcome" in text


def test_eval_takes_any_agent_and_refuses_two_players():
    settings = ["evaluation.episodes=2", "evaluation.temperatures=[1]"]
    code, text = invoke("eval", "web_shop", *settings, "--agent", "random")
    assert code == 0 and "success 0.000" in text, text
    code, text = invoke("eval", "web_shop", "--agent", "random", "--checkpoint", "x")
    assert code == 2 and "give one of them" in text


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "x").write_text("nonsense\n")
    with pytest.raises(DataError):
        load_agent(f"replay:{tmp_path / 'x'}")


def test_loading_an_endpoint_imports_no_torch():
    code = (
        "import sys; from turngym.agents.load import load_agent; load_agent('http://h/v1#m');"
        "print([m for m in ('torch', 'transformers', 'aiohttp') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_config_errors_are_config_errors():
    with pytest.raises(ConfigError):
        load_agent("rndom")
