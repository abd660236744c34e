"""A real vLLM engine on the CPU: ours in process and over HTTP beside raw AsyncLLM.

    python benchmarks/rollout/engine.py      # in the environment of .ci/requirements-vllm.txt

64 episodes of 6 turns with at most 64 tokens each; a small model with random weights. Raw AsyncLLM
is asked for the same prompts with the same sampling settings. Writes
benchmarks/results/rollout_engine.json. About two minutes on two cores.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch

from turngym import TextEnv, __version__, bridge
from turngym.agents.http_tokens import TokenHTTPAgent
from turngym.agents.tiny import tiny_model, tiny_tokenizer
from turngym.agents.vllm import VLLMAgent
from turngym.agents.vllm_engine import _params
from turngym.trainers.rollout import Group, RolloutConfig, arollout
from turngym.types import Sampling, user

RESULT = Path(__file__).resolve().parents[1] / "results" / "rollout_engine.json"
EPISODES, TURNS, TOKENS, ROUNDS, LIMIT = 64, 6, 64, 4, 1024
SAMPLING = Sampling(max_new_tokens=TOKENS)


class Counter(TextEnv):
    """Says the number of the turn until it ends."""

    def reset(self, *, seed=None, options=None):
        return (user("obs 0: start"),), {}

    def step(self, action):
        return (user(f"obs {self.turn + 1}: ok"),), 0.0, self.turn + 1 >= TURNS, False, {}


async def ours(agent, sampling, episodes=EPISODES):
    """The sampled ids of every turn of every episode."""
    groups = [Group(key=str(n), seed=n, sampling=sampling) for n in range(episodes)]
    config = RolloutConfig(concurrency=episodes, deterministic=False)
    done = await arollout(Counter, agent, groups, config)
    assert all(t.status.counts for t in done), done[0].error
    return done


async def raw(llm, stop_ids, tails, sampling, episodes=EPISODES, *, bare=False):
    """AsyncLLM and nothing else; `tails` are the prompt ids that each turn appends."""

    async def episode(number):
        ids, said = [], []
        for tail in tails:
            ids = [*ids, *tail]
            params = _params(sampling, stop_ids, None)
            if bare:
                params.logprobs = None
            name = f"raw-{time.perf_counter_ns()}-{number}"
            prompt = {"prompt_token_ids": ids}
            outputs = [each async for each in llm.generate(prompt, params, name)]
            said.append(list(outputs[-1].outputs[0].token_ids))
            ids = [*ids, *said[-1]]
        return said

    return await asyncio.gather(*[episode(number) for number in range(episodes)])


def rate(play, count):
    """Tokens per second, the best of `ROUNDS`, and the CPU milliseconds of this process per turn."""
    best, cpu_ms = 0.0, float("inf")
    for _ in range(ROUNDS):
        wall, cpu = time.perf_counter(), time.process_time()
        tokens = count(play())
        best = max(best, tokens / (time.perf_counter() - wall))
        cpu_ms = min(cpu_ms, (time.process_time() - cpu) / (EPISODES * TURNS) * 1e3)
    return {"tokens_per_s": best, "cpu_ms_per_turn": cpu_ms}


def count_ours(done):
    return sum(t.num_reply_tokens for t in done)


def count_raw(said):
    return sum(len(ids) for episode in said for ids in episode)


@contextmanager
def server(folder):
    """The base address of a vLLM server with the same model."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", folder]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "tiny"]
    command += ["--dtype", "float32", "--max-model-len", str(LIMIT), "--enforce-eager"]
    command += ["--disable-log-stats", "--disable-uvicorn-access-log"]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        while True:
            assert process.poll() is None, "the server did not start"
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def in_process(folder, figures):
    """Raw and ours on one engine; gives the prompt ids that each turn appends."""
    agent = VLLMAgent(folder, dtype="float32", max_model_len=LIMIT, enforce_eager=True)
    llm, stop_ids = agent.engine._llm, agent._stop_ids
    greedy = replace(SAMPLING, temperature=0.0)
    done = asyncio.run(ours(agent, greedy, 4))
    tails = [turn.completion.new_prompt_ids.tolist() for turn in done[0].turns]
    said = bridge.run(raw(llm, stop_ids, tails, greedy, 4))
    mine = [[turn.completion.reply_ids.tolist() for turn in t.turns] for t in done]
    assert said == mine, "ours and raw AsyncLLM sample different tokens"
    cases = {
        "raw": lambda: bridge.run(raw(llm, stop_ids, tails, SAMPLING)),
        "ours": lambda: asyncio.run(ours(agent, SAMPLING)),
        "raw, ids only": lambda: bridge.run(raw(llm, stop_ids, tails, SAMPLING, bare=True)),
    }
    for name, play in cases.items():
        figures[name] = rate(play, count_ours if name.startswith("ours") else count_raw)
        print(name, figures[name], file=sys.stderr, flush=True)
    agent.close()


def main() -> None:
    """Measure and print."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        tiny_model().float().save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
        in_process(folder, figures)
        with server(folder) as url:
            agent = TokenHTTPAgent(url, "tiny", tiny_tokenizer(), limit=LIMIT)
            asyncio.run(ours(agent, SAMPLING, 4))
            figures["http"] = rate(lambda: asyncio.run(ours(agent, SAMPLING)), count_ours)
    whole = figures["raw"]["tokens_per_s"]
    result = {
        "command": "python benchmarks/rollout/engine.py",
        "episodes": EPISODES,
        "turns": TURNS,
        "tokens": TOKENS,
        "figures": {k: {n: round(x, 3) for n, x in v.items()} for k, v in figures.items()},
        "share_of_raw": {
            "in process": round(figures["ours"]["tokens_per_s"] / whole, 3),
            "http": round(figures["http"]["tokens_per_s"] / whole, 3),
        },
        "goals": {"in process": 0.9, "http": 0.65},
        "checked": "greedy ids equal raw AsyncLLM",
        "date": datetime.date.today().isoformat(),
        "device": f"{platform.machine()}, {os.cpu_count()} cores, CPU",
        "versions": {
            "vllm": f"{version('vllm-cpu')} (vllm-cpu)",
            "torch": torch.__version__,
            "turngym": __version__,
        },
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
