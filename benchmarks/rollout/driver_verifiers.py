"""verifiers 0.4 against the stub: python driver_verifiers.py URL EPISODES TURNS. Prints one line of JSON.

Its fastest path that was found: a harness that plays in process, so that no program is started per
turn; every model call goes through its interception server, as its contract asks. The harness asks
for what our chat agent asks for, log-probabilities and token ids, so the same bytes come back.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from importlib.metadata import version

import aiohttp
import verifiers.v1 as vf
from scenario import START, Stopwatch, report, said
from verifiers.v1.harnesses.null import NullHarness

ROUNDS = 5


class InProcess(NullHarness):
    """Says the number of the turn until it ends."""

    turns = 10
    http: aiohttp.ClientSession

    async def setup(self, runtime):
        """Nothing to install."""

    async def launch(
        self, ctx, trace, runtime, endpoint, secret, mcp_urls, data, tool_interception_url=None
    ):
        """The whole episode."""
        messages = [{"role": "user", "content": START}]
        headers = {"Authorization": f"Bearer {secret}"}
        for turn in range(self.turns):
            body = {
                "model": ctx.model,
                "messages": messages,
                "max_tokens": 64,
                "logprobs": True,
                "return_token_ids": True,
            }
            url = f"{endpoint}/chat/completions"
            async with self.http.post(url, json=body, headers=headers) as answer:
                assert answer.status == 200, await answer.text()
                choice = (await answer.json())["choices"][0]
            assert len(choice["logprobs"]["content"]) == 64
            messages = [
                *messages,
                {"role": "assistant", "content": choice["message"]["content"]},
                {"role": "user", "content": said(turn + 1)},
            ]
        return vf.ProgramResult(exit_code=0, stdout="", stderr="")


def shown(trace: vf.Trace) -> list[str]:
    """What the policy was told, as the trace has it."""
    assert trace.ok, trace.errors
    return [m.content for m in trace.branches[-1].messages if m.role == "user"]


async def main(url: str, episodes: int, turns: int) -> None:
    """Warm up, then measure."""
    os.environ["STUB_KEY"] = "x"
    config = vf.AgentConfig(
        model="stub",
        client=vf.EvalClientConfig(base_url=url, api_key_var="STUB_KEY"),
        harness=vf.HarnessConfig(id="null"),
        runtime=vf.SubprocessConfig(),
    )
    tasks = [vf.Task(vf.TaskData(idx=n, prompt=START), vf.TaskConfig()) for n in range(episodes)]
    agent = vf.Agent(config)
    agent.harness = InProcess(agent.harness.config)
    InProcess.turns = turns
    rounds, traces = [], []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1024)) as http, agent:
        InProcess.http = http
        for _ in range(ROUNDS + 1):
            watch = Stopwatch()
            traces = await asyncio.gather(*[agent.run(task) for task in tasks])
            rounds.append(watch.read())
    replies = len(rounds) * episodes * turns
    versions = {name: version(name) for name in ("verifiers", "aiohttp", "httpx")}
    report(rounds[1:], [shown(t) for t in traces], turns=turns, replies=replies, versions=versions)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
