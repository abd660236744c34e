"""verifiers 0.4 against the stub: python driver_verifiers.py URL EPISODES TURNS. Prints one line of JSON.

Its fastest path that was found: a harness that plays in process, so that no program is started per
turn; every model call goes through its interception server, as its contract asks.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import resource
import sys
import time

import aiohttp
import verifiers.v1 as vf
from verifiers.v1.harnesses.null import NullHarness

ROUNDS = 3
TURNS = 10


class InProcess(NullHarness):
    """Says the number of the turn until it ends."""

    async def setup(self, runtime):
        pass

    async def launch(
        self, ctx, trace, runtime, endpoint, secret, mcp_urls, data, tool_interception_url=None
    ):
        messages = [{"role": "user", "content": "obs 0: start"}]
        headers = {"Authorization": f"Bearer {secret}"}
        for turn in range(TURNS):
            body = {"model": ctx.model, "messages": messages, "max_tokens": 64}
            url = f"{endpoint}/chat/completions"
            async with SESSION.post(url, json=body, headers=headers) as answer:
                assert answer.status == 200, await answer.text()
                reply = (await answer.json())["choices"][0]["message"]
            messages = [
                *messages,
                {"role": "assistant", "content": reply["content"]},
                {"role": "user", "content": f"obs {turn + 1}: ok"},
            ]
        return vf.ProgramResult(exit_code=0, stdout="", stderr="")


async def main(url: str, episodes: int) -> None:
    """Warm up, then measure."""
    global SESSION
    os.environ["STUB_KEY"] = "x"
    client = vf.EvalClientConfig(base_url=url, api_key_var="STUB_KEY")
    harness = vf.HarnessConfig(id="null")
    config = vf.AgentConfig(
        model="stub", client=client, harness=harness, runtime=vf.SubprocessConfig()
    )
    SESSION = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1024))
    tasks = [
        vf.Task(vf.TaskData(idx=n, prompt="obs 0: start"), vf.TaskConfig()) for n in range(episodes)
    ]
    agent = vf.Agent(config)
    agent.harness = InProcess(agent.harness.config)
    rounds = []
    async with agent, SESSION:
        await asyncio.gather(*[agent.run(task) for task in tasks[:4]])
        for _ in range(ROUNDS):
            wall, cpu = time.perf_counter(), time.process_time()
            traces = await asyncio.gather(*[agent.run(task) for task in tasks])
            rounds.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu, wall = min(rounds)
    told = []
    for trace in traces:
        assert trace.ok, trace.errors
        said = trace.branches[-1].messages
        told.append([m.content for m in said if m.role == "user"])
        assert sum(m.role == "assistant" for m in said) == TURNS
    count = episodes * TURNS
    figures = {
        "turns": count,
        "cpu_ms_per_turn": cpu / count * 1e3,
        "turns_per_s": count / wall,
        "max_rss_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "observations": hashlib.sha256(json.dumps(told).encode()).hexdigest(),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    TURNS = int(sys.argv[3])
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
