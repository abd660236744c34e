"""What a turn costs the rollout driver, counted in steps instead of seconds: callbacks, timers, calls.

Each figure is the difference between long and short episodes, so what an episode costs once is not in
it, and is the same in every run. Seconds are measured by benchmarks/rollout/run.py.
"""

import asyncio
import json
import sys
from collections import Counter

import pytest

from turngym import TextEnv
from turngym.agents.http import HTTPAgent
from turngym.agents.http_tokens import TokenHTTPAgent
from turngym.agents.tiny import tiny_tokenizer
from turngym.agents.transport import Reply
from turngym.trainers.rollout import Group, RolloutConfig, arollout
from turngym.types import Sampling, tool, user

CALL = '<tool_call>{"name": "say", "arguments": {"text": "hi"}}</tool_call>'
EPISODES = 4


class Loop(asyncio.SelectorEventLoop):
    """Counts what is asked of it."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def call_soon(self, callback, *args, context=None):
        self.counts["callbacks"] += 1
        return super().call_soon(callback, *args, context=context)

    def call_at(self, when, callback, *args, context=None):
        self.counts["timers"] += 1
        return super().call_at(when, callback, *args, context=context)

    def create_task(self, coro, **kwargs):
        self.counts["tasks"] += 1
        return super().create_task(coro, **kwargs)

    def call_soon_threadsafe(self, callback, *args, context=None):
        self.counts["thread hops"] += 1
        return super().call_soon_threadsafe(callback, *args, context=context)


class Wire:
    """A transport that answers on the next pass of the loop."""

    def __init__(self, text):
        self.counts = Counter()
        choice = {"text": text, "message": {"role": "assistant", "content": text}}
        choice |= {"token_ids": [11, 12, 2], "logprobs": {"token_logprobs": [-0.5] * 3}}
        self.body = json.dumps({"choices": [choice]}).encode()

    async def post(self, url, body, headers, timeout_s):
        self.counts["requests"] += 1
        loop = asyncio.get_running_loop()
        arrived = loop.create_future()
        loop.call_soon(arrived.set_result, None)
        await arrived
        return Reply(200, {}, self.body)


class Chat(TextEnv):
    """Talks for `turns` turns."""

    def __init__(self, turns):
        super().__init__()
        self.turns = turns

    def reset(self, *, seed=None, options=None):
        return (user("go"),), {}

    def step(self, action):
        return (user(f"obs {self.turn}"),), 0.0, self.turn + 1 >= self.turns, False, {}

    async def astep(self, action):
        return self.step(action)


class Tools(Chat):
    """The same as answers of a tool."""

    tools = ({"name": "say", "parameters": {"type": "object", "properties": {}}},)

    def step(self, action):
        (call,) = action.tool_calls
        answer = tool(f"obs {self.turn}", call.id, call.name)
        return (answer,), 0.0, self.turn + 1 >= self.turns, False, {}

    async def astep(self, action):
        return self.step(action)


def counted(make_agent, env, turns):
    """Everything that `turns` turns ask for."""
    counts = Counter()

    def watch(frame, event, arg):
        counts["calls"] += event == "call"

    agent, wire, tokenizer = make_agent()
    if tokenizer is not None:
        render = type(tokenizer).apply_chat_template

        def rendered(*args, **kwargs):
            counts["renders"] += 1
            return render(tokenizer, *args, **kwargs)

        tokenizer.apply_chat_template = rendered
    groups = [Group(key=str(n), seed=n, sampling=Sampling()) for n in range(EPISODES)]
    config = RolloutConfig(concurrency=EPISODES, deterministic=False)

    async def main():
        await arollout(lambda: env(8), agent, groups, config)  # learns the template
        for each in (loop.counts, counts, wire.counts):
            each.clear()
        sys.setprofile(watch)
        try:
            return await arollout(lambda: env(turns), agent, groups, config)
        finally:
            sys.setprofile(None)

    with asyncio.Runner(loop_factory=Loop) as runner:
        loop = runner.get_loop()
        done = runner.run(main())
    assert all(t.status.counts and len(t.turns) == turns for t in done), done[0].error
    return counts + loop.counts + wire.counts


def per_turn(make_agent, env, few, many):
    more, less = counted(make_agent, env, many), counted(make_agent, env, few)
    more.subtract(less)
    return {name: count / (EPISODES * (many - few)) for name, count in more.items()}


def tokens(text):
    wire, tokenizer = Wire(text), tiny_tokenizer()
    agent = TokenHTTPAgent("http://x/v1", "stub", tokenizer, limit=100_000, transport=wire)
    return agent, wire, tokenizer


def chat(text):
    wire = Wire(text)
    wire.body = wire.body.replace(b'"logprobs"', b'"other"').replace(b'"token_ids"', b'"ids"')
    return HTTPAgent("http://x/v1", "stub", transport=wire), wire, None


@pytest.mark.parametrize(
    ("make", "env", "text"), [(tokens, Chat, "hi"), (tokens, Tools, CALL), (chat, Chat, "hi")]
)
def test_a_turn_asks_the_event_loop_for_next_to_nothing(make, env, text):
    """A task, a thread or a template render more per turn would each cost a tenth of the budget."""
    found = per_turn(lambda: make(text), env, 20, 40)
    calls = found.pop("calls")
    assert {name: count for name, count in found.items() if count} == {
        "callbacks": 2,  # the answer's and its waiter's
        "timers": 2,  # the agent's and the environment's deadline
        "requests": 1,
    }
    assert calls < 260  # of Python functions, when this was written 170 to 210


def test_a_late_turn_calls_no_more_functions_than_an_early_one():
    """A walk over all turns before, in each turn, would show here."""
    early = per_turn(lambda: tokens("hi"), Chat, 10, 20)["calls"]
    late = per_turn(lambda: tokens("hi"), Chat, 80, 90)["calls"]
    assert late < early + 5
