"""turngym's environments inside the real verifiers 0.4, with its own client against a stub endpoint.

Runs in the verifiers environment: `.ci/requirements-verifiers.txt`.
"""

import asyncio
import itertools
import json
import os
import subprocess
import sys

import pytest
from aiohttp import web

from stub_server import serving, status
from turngym import TextEnv, make, register
from turngym.agents.wire import message_to_wire
from turngym.errors import EnvironmentFailure, MissingExtraError, SimulatorFailure, UnknownNameError
from turngym.seeding import derive
from turngym.trainers.rollout import Group, RolloutConfig, rollout
from turngym.types import Completion, Message, ToolCall, user

REASON = "needs the verifiers environment (.ci/requirements-verifiers.txt)"
SPELL = {
    "turngym/WebShop-v0": {"size": "demo"},
    "turngym/ToolUse-v0": {},
    "turngym/ConversationalQA-v0": {},
    "turngym/EmotionalSupport-v0": {},
}


class Steps(TextEnv):
    """Pays 0.25 a turn for four turns, and breaks when it is told to."""

    def reset(self, *, seed=None, options=None):
        return (user("begin"),), {"task_id": f"seed {seed}"}

    def step(self, action):
        if action.content in FAILURES:
            raise FAILURES[action.content]
        told = {"turn_reward": 0.5, "rewards": {"tidy": 1.0}}
        return (user("more"),), 0.25, self.turn + 1 >= 4, False, told


FAILURES = {
    "break": EnvironmentFailure("the shelf fell down"),
    "sulk": SimulatorFailure("the user said nothing"),
    "bug": ZeroDivisionError("a bug"),
}


def register_steps():
    register("test/Steps-v0", Steps)


@pytest.fixture
def vf(monkeypatch):
    """verifiers, with an environment of our own registered."""
    found = pytest.importorskip("verifiers.v1", reason=REASON)
    monkeypatch.setenv("STUB_KEY", "secret of the provider")
    register_steps()
    return found


def messages_of(body):
    """A request's messages as ours."""
    return tuple(
        Message(
            role=m["role"],
            content=m.get("content") or "",
            tool_call_id=m.get("tool_call_id"),
            tool_calls=tuple(
                ToolCall(
                    id=call["id"],
                    name=call["function"]["name"],
                    arguments=json.loads(call["function"]["arguments"]),
                )
                for call in m.get("tool_calls") or ()
            ),
        )
        for m in body["messages"]
    )


def answer(message):
    """A provider's answer that says `message`."""
    return web.json_response(
        {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "stub",
            "choices": [{"index": 0, "message": message_to_wire(message), "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
        }
    )


def expert_of(env, noise):
    """What the stub's model says: the scripted expert of `env`, with mistakes."""

    def reply(messages):
        seed = derive(*(m.content for m in messages))
        said = env.expert(messages, noise=noise, seed=seed)
        return said if isinstance(said, Message) else Message(role="assistant", content=said)

    return reply


def says(reply):
    return lambda request, body: answer(reply(messages_of(body)))


def words(*texts):
    """A model that says one text after the other."""
    left = itertools.chain(texts, itertools.repeat(texts[-1]))
    return lambda request, body: answer(Message(role="assistant", content=next(left)))


def play(vf, env_id, step, *, count=1, settings=None, agent=None):
    """The episodes of the first `count` tasks, and what the provider was asked."""
    from verifiers.v1.utils.loaders import load_environment, resolve_env_config

    taskset = {"id": "turngym-verifiers", "env": env_id, "settings": settings or {}}
    config = resolve_env_config({"taskset": taskset, "agent": agent or {}})
    env = load_environment(config)

    async def main(url):
        client = vf.EvalClientConfig(base_url=url, api_key_var="STUB_KEY")
        context = vf.ModelContext(model="stub", client=client)
        async with env.serving():
            slots = [slot for task in env.taskset.take(count) for slot in env.slots(task)]
            return await asyncio.gather(*(env.run_slot(slot, context) for slot in slots))

    with serving(step) as stub:
        return asyncio.run(main(stub.url)), stub


class Scripted:
    def __init__(self, reply):
        self.reply = reply

    async def act(self, context, *, sampling, seed):
        return Completion(message=self.reply(context.messages))


@pytest.mark.verifiers
@pytest.mark.parametrize("env_id", SPELL)
def test_an_episode_earns_what_our_own_rollout_gives_for_the_same_replies(vf, env_id):
    """A lost tool result, another seed or task, or a reward counted twice would part them."""
    settings, count = SPELL[env_id], 4
    reply = expert_of(make(env_id, **settings), noise=0.3)
    episodes, stub = play(vf, env_id, says(reply), count=count, settings=settings)
    tasks = [episode.task.data for episode in episodes]
    groups = [
        Group(key=str(i), seed=data.seed, task_id=data.task_id) for i, data in enumerate(tasks)
    ]
    ours = rollout(
        lambda: make(env_id, **settings),
        Scripted(reply),
        groups,
        RolloutConfig(deterministic=False),
    )
    assert len({(t.outcome, len(t.turns)) for t in ours}) > 1
    for episode, played in zip(episodes, ours, strict=True):
        (trace,) = episode.traces
        assert episode.ok and trace.ok, (episode.errors, trace.errors)
        assert trace.reward == pytest.approx(played.outcome)
        assert trace.metrics["turns"] == len(played.turns) == trace.num_turns
        assert trace.metrics["success"] == played.success
        paid = sum(turn.reward or 0.0 for turn in played.turns)
        assert trace.metrics["turn_reward_sum"] == pytest.approx(paid)
        assert trace.info["turngym_status"] == played.status
        shown = [m.content or "" for m in trace.branches[-1].messages]
        past = [m.content for turn in played.turns for m in (*turn.seen, turn.completion.message)]
        assert shown == past
    for body in stub.bodies:
        assert bool(body.get("tools")) == bool(ours[0].tools)


@pytest.mark.verifiers
def test_rewards_parts_and_what_the_model_is_sent(vf):
    (episode,), stub = play(vf, "test/Steps-v0", words("a", "b", "c", "d"))
    (trace,) = episode.traces
    assert {name: r.score for name, r in trace.rewards.items()} == {"outcome": 1.0}
    assert trace.metrics == {
        "turns": 4.0,
        "invalid_actions": 0.0,
        "turn_reward_sum": 2.0,
        "part/tidy": 4.0,
        "success": 1.0,
    }
    assert [len(body["messages"]) for body in stub.bodies] == [1, 3, 5, 7]
    assert stub.bodies[-1]["messages"][:3] == [
        {"role": "user", "content": "begin"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "more"},
    ]
    assert stub.headers[0]["Authorization"] == "Bearer secret of the provider"


@pytest.mark.verifiers
@pytest.mark.parametrize(
    ("word", "named"),
    [("break", "env_error"), ("sulk", "simulator_error"), ("bug", "env_error")],
)
def test_what_is_not_the_agents_fault_is_an_error_and_never_a_reward(vf, word, named):
    (episode,), _ = play(vf, "test/Steps-v0", words("fine", word))
    (trace,) = episode.traces
    assert not episode.ok and not trace.ok
    assert trace.rewards == {} and trace.stop_condition == "harness_error"
    (error,) = trace.errors
    assert error.type == "HarnessError" and named in error.message
    assert str(FAILURES[word]) in error.message


@pytest.mark.verifiers
def test_a_provider_that_refuses_is_the_providers_error_and_no_reward(vf):
    (episode,), stub = play(vf, "test/Steps-v0", status(401, "no such key"))
    (trace,) = episode.traces
    assert not trace.ok and trace.rewards == {}
    assert trace.last_error.type == "ProviderError" and trace.last_error.status_code == 401
    assert len(stub.bodies) == 1


@pytest.mark.verifiers
def test_a_run_that_verifiers_stops_keeps_what_it_earned(vf):
    (episode,), stub = play(vf, "test/Steps-v0", words("a"), agent={"max_turns": 2})
    (trace,) = episode.traces
    assert trace.ok and trace.stop_condition == "max_turns"
    assert trace.reward == 0.5 and len(stub.bodies) == 2
    assert trace.info["turngym_status"] == "truncated"


@pytest.mark.verifiers
def test_a_run_out_of_time_keeps_what_it_earned(vf):
    replies = iter([0.0, 0.0, 30.0])

    async def slow(request, body):
        await asyncio.sleep(next(replies))
        return answer(Message(role="assistant", content="a"))

    agent = {"timeout": {"rollout": 5.0}}
    (episode,), _ = play(vf, "test/Steps-v0", slow, agent=agent)
    (trace,) = episode.traces
    assert trace.is_timeout and trace.reward == 0.5


@pytest.mark.verifiers
def test_tasks_are_those_of_the_split_and_hold_no_solution(vf):
    from verifiers.v1.utils.loaders import taskset_config_type

    from turngym_verifiers import TurngymTaskset

    kind = taskset_config_type("turngym-verifiers")
    taskset = TurngymTaskset(
        kind(id="turngym-verifiers", env="turngym/ToolUse-v0", split="test", seed=3)
    )
    env = make("turngym/ToolUse-v0")
    tasks = list(taskset)
    assert [task.data.task_id for task in tasks] == list(env.tasks("test"))
    assert (
        len({task.data.seed for task in tasks}) == len({task.key for task in tasks}) == len(tasks)
    )
    env.reset(seed=0, options={"task_id": tasks[0].data.task_id, "split": "test"})
    secrets = [*env.privileged.references, *env.privileged.gold_actions]
    assert secrets
    written = tasks[0].data.model_dump_json()
    assert not [secret for secret in secrets if json.dumps(secret)[1:-1] in written]

    endless = TurngymTaskset(kind(id="turngym-verifiers", env="test/Steps-v0"))
    assert not endless.bounded
    assert [task.data.task_id for task in endless.take(3)] == [None] * 3
    with pytest.raises(UnknownNameError, match="WebShop"):
        TurngymTaskset(kind(id="turngym-verifiers", env="turngym/WebSop-v0"))


@pytest.mark.verifiers
def test_the_system_prompt_that_verifiers_optimises_comes_first(vf, tmp_path):
    from verifiers.v1.utils.loaders import taskset_config_type

    from turngym_verifiers import TurngymHarness, TurngymTaskset

    (tmp_path / "prompt.txt").write_text("Be brief.")
    kind = taskset_config_type("turngym-verifiers")
    config = kind(env="test/Steps-v0", system_prompt=tmp_path / "prompt.txt")
    (task,) = TurngymTaskset(config).take(1)

    async def main(url):
        settings = vf.AgentConfig(
            model="stub",
            client=vf.EvalClientConfig(base_url=url, api_key_var="STUB_KEY"),
            runtime=vf.SubprocessConfig(),
        )
        agent = vf.Agent(settings)
        agent.harness = TurngymHarness(agent.harness.config)
        async with agent:
            return await agent.run(task)

    with serving(words("a")) as stub:
        trace = asyncio.run(main(stub.url))
    assert trace.ok and trace.reward == 1.0
    for body in stub.bodies:
        assert [m["role"] for m in body["messages"]].count("system") == 1
        assert body["messages"][0] == {"role": "system", "content": "Be brief."}


@pytest.mark.verifiers
def test_the_command_of_the_documentation_evaluates(vf, tmp_path):
    env = make("turngym/WebShop-v0", size="demo")
    with serving(says(expert_of(env, noise=0.0))) as stub:
        command = [
            *(os.path.join(os.path.dirname(sys.executable), "vf-eval"), "turngym-verifiers"),
            *("--env.taskset.env", "turngym/WebShop-v0"),
            *("--env.taskset.settings", '{"size": "demo"}'),
            *("--model", "stub", "--select.limit", "2", "--num-rollouts", "1"),
            *("--client.base-url", stub.url, "--client.api-key-var", "STUB_KEY"),
            *("--output-dir", str(tmp_path)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (found,) = tmp_path.rglob("traces.jsonl")
    lines = [json.loads(line) for line in found.read_text().splitlines()]
    assert len(lines) == 2
    for line in lines:
        (trace,) = line["traces"]
        assert line["ok"] and trace["rewards"]["outcome"]["score"] == 1.0


def test_without_verifiers_the_message_says_what_to_install():
    try:
        import verifiers  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match=r"turngym\[verifiers\]"):
            import turngym_verifiers  # noqa: F401
    else:
        pytest.skip("verifiers is installed here")
