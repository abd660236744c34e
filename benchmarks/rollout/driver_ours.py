"""Our driver against the stub: python driver_ours.py URL EPISODES TURNS MODE. Prints one line of JSON.

The environment steps on the event loop (`astep`), as those of the peers do; with `-threads` behind the
mode it steps in a thread, as environments without `astep` do.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import resource
import sys
import time

from turngym import TextEnv
from turngym.agents.http import HTTPAgent
from turngym.agents.http_tokens import TokenHTTPAgent
from turngym.agents.tiny import tiny_tokenizer
from turngym.agents.transport import AiohttpTransport, HttpxTransport
from turngym.trainers.rollout import Group, RolloutConfig, arollout
from turngym.types import Sampling, user

ROUNDS = 7


class Counter(TextEnv):
    """Says the number of the turn until it ends."""

    turns = 10

    def reset(self, *, seed=None, options=None):
        return (user("obs 0: start"),), {}

    def step(self, action):
        done = self.turn + 1 >= self.turns
        return (user(f"obs {self.turn + 1}: ok"),), 0.0, done, False, {}


class AsyncCounter(Counter):
    """The same on the event loop."""

    async def astep(self, action):
        return self.step(action)


def make_agent(mode: str, url: str):
    """The agent of a mode."""
    if mode == "tokens":
        return TokenHTTPAgent(url, "stub", tiny_tokenizer(), limit=100_000)
    if mode == "chat":
        return HTTPAgent(url, "stub", need_ids=False, transport=AiohttpTransport())
    if mode == "chat-httpx":
        return HTTPAgent(url, "stub", need_ids=False)
    import httpx_aiohttp

    return HTTPAgent(
        url, "stub", transport=HttpxTransport(transport=httpx_aiohttp.AiohttpTransport)
    )


def main(url: str, episodes: int, turns: int, mode: str) -> None:
    """Warm up, then measure."""
    Counter.turns = turns
    env = Counter if mode.endswith("-threads") else AsyncCounter
    mode = mode.removesuffix("-threads")
    agent = make_agent(mode, url)
    groups = [
        Group(key=str(n), seed=n, sampling=Sampling(max_new_tokens=64)) for n in range(episodes)
    ]
    config = RolloutConfig(concurrency=episodes, deterministic=False)

    async def play() -> tuple[float, float, list]:
        await arollout(env, agent, groups[:8], config)
        rounds = []
        for _ in range(ROUNDS):
            wall, cpu = time.perf_counter(), time.process_time()
            done = await arollout(env, agent, groups, config)
            rounds.append((time.process_time() - cpu, time.perf_counter() - wall))
        return *min(rounds), done  # the least disturbed round

    cpu, wall, done = asyncio.run(play())
    told = [[m.content for turn in t.turns for m in turn.seen] for t in done]
    assert all(t.status.counts and len(t.turns) == turns for t in done), done[0].error
    if mode == "tokens":
        assert all(len(turn.completion.reply_ids) == 64 for t in done for turn in t.turns)
    figures = {
        "turns": episodes * turns,
        "cpu_ms_per_turn": cpu / (episodes * turns) * 1e3,
        "turns_per_s": episodes * turns / wall,
        "max_rss_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "observations": hashlib.sha256(json.dumps(told).encode()).hexdigest(),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
