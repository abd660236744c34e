"""Our driver against the stub: python driver_ours.py URL EPISODES TURNS MODE. Prints one line of JSON.

Modes: chat messages in and out (`chat`, `chat-httpx-aiohttp`, `chat-httpx`), token ids in and out
(`tokens`, `tools`), and `tools-stubbed`, where fixed ids stand for generation and nothing travels. The
environment steps on the event loop (`astep`), as those of the peers do; with `-threads` behind the
mode it steps in a thread, as environments without `astep` do.
"""

from __future__ import annotations

import asyncio
import sys
from array import array
from importlib.metadata import version

from scenario import CALL, REPLY_IDS, START, Stopwatch, report, said

from turngym import TextEnv, __version__
from turngym.agents.http import HTTPAgent
from turngym.agents.http_tokens import TokenHTTPAgent
from turngym.agents.tiny import tiny_tokenizer
from turngym.agents.tokens import Sampled, TokenChat
from turngym.agents.transport import AiohttpTransport, HttpxTransport
from turngym.trainers.rollout import Group, RolloutConfig, arollout
from turngym.types import Sampling, tool, user

ROUNDS = 15
SAY = {
    "name": "say",
    "description": "Say something.",
    "parameters": {
        "type": "object",
        "properties": {"text": {"type": "string", "description": "What to say."}},
        "required": ["text"],
    },
}


class Counter(TextEnv):
    """Says the number of the turn until it ends."""

    turns = 10

    def reset(self, *, seed=None, options=None):
        return (user(START),), {}

    def step(self, action):
        return (user(said(self.turn + 1)),), 0.0, self.turn + 1 >= self.turns, False, {}


class AsyncCounter(Counter):
    """The same on the event loop."""

    async def astep(self, action):
        return self.step(action)


class ToolCounter(AsyncCounter):
    """The same as the answer of a tool."""

    tools = (SAY,)

    def step(self, action):
        (call,) = action.tool_calls
        assert call.name == "say" and call.arguments["text"]
        answer = tool(said(self.turn + 1), call.id, call.name)
        return (answer,), 0.0, self.turn + 1 >= self.turns, False, {}

    async def astep(self, action):
        return self.step(action)


class Stubbed:
    """Fixed ids instead of a server; they are decoded here, as TRL does."""

    def __init__(self) -> None:
        self.chat = TokenChat(tiny_tokenizer(), 100_000)
        encoded = tiny_tokenizer().encode(CALL + "<|im_end|>", add_special_tokens=False)
        assert encoded == REPLY_IDS

    async def act(self, context, *, sampling, seed):
        """The same reply to everything."""
        request = self.chat.request(context, sampling)
        sampled = Sampled(
            ids=array("i", REPLY_IDS),
            logprobs=array("f", [-0.5] * len(REPLY_IDS)),
            finish_reason="stop",
        )
        return self.chat.completion(request, sampled, sampling, 0.0)


def make_agent(mode: str, url: str):
    """The agent of a mode."""
    if mode == "tools-stubbed":
        return Stubbed()
    if mode in ("tokens", "tools"):
        url = url.replace("/v1", "/tools/v1") if mode == "tools" else url
        return TokenHTTPAgent(url, "stub", tiny_tokenizer(), limit=100_000)
    if mode == "chat":
        return HTTPAgent(url, "stub", transport=AiohttpTransport())
    if mode == "chat-httpx":
        return HTTPAgent(url, "stub")
    import httpx_aiohttp

    return HTTPAgent(
        url, "stub", transport=HttpxTransport(transport=httpx_aiohttp.AiohttpTransport)
    )


async def main(url: str, episodes: int, turns: int, mode: str) -> None:
    """Warm up, then measure."""
    Counter.turns = turns
    env = Counter if mode.endswith("-threads") else AsyncCounter
    mode = mode.removesuffix("-threads")
    if mode.startswith("tools"):
        env = ToolCounter
    agent = make_agent(mode, url)
    sampling = Sampling(max_new_tokens=64)
    groups = [Group(key=str(n), seed=n, sampling=sampling) for n in range(episodes)]
    config = RolloutConfig(concurrency=episodes, deterministic=False)
    rounds, done = [], []
    for _ in range(1 + min(ROUNDS, max(2, ROUNDS * 64 // episodes))):
        watch = Stopwatch()
        done = await arollout(env, agent, groups, config)
        rounds.append(watch.read())
    assert all(t.status.counts and len(t.turns) == turns for t in done), done[0].error
    if not mode.startswith("chat"):
        asked = [turn.completion for t in done for turn in t.turns]
        assert all(c.reply_ids.tolist() == REPLY_IDS and len(c.reply_logprobs) == 64 for c in asked)
        assert all(sum(turn.completion.opens_segment for turn in t.turns) == 1 for t in done)
    told = [[m.content for turn in t.turns for m in turn.seen] for t in done]
    replies = 0 if mode == "tools-stubbed" else len(rounds) * episodes * turns
    versions = {name: version(name) for name in ("aiohttp", "httpx", "httpx-aiohttp")}
    report(
        rounds[1:],
        told,
        turns=turns,
        replies=replies,
        versions={"turngym": __version__, **versions},
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
