"""Driver CPU per turn, ours beside its peers, in one run.

    python benchmarks/rollout/run.py --verifiers VENV/bin/python --trl VENV/bin/python

Each driver plays the same 64 episodes of 10 turns in a process of its own, against the same stub
server in another; only the driver's own CPU time counts, all its threads included. Before anything
is compared: what every episode was shown must be equal, and the server must have given each driver
every reply it claims. Three comparisons, each with equal work on both sides:

- chat messages over HTTP, with log-probabilities and token ids in the answer: verifiers;
- token ids over HTTP, each reply a tool call: TRL with its own vLLM client. TRL asks once a turn for
  all episodes, and so waits for the slowest; we ask for each episode when it is ready;
- the same with generation stubbed on both sides, which leaves parsing, tools and the next prompts.

aiohttp alone is the floor of what travels. A peer that is not given is left out. Writes
benchmarks/results/rollout_driver.json. About three minutes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results" / "rollout_driver.json"
EPISODES, TURNS, MANY = 64, 10, 512
OURS = (
    "chat",
    "chat-httpx-aiohttp",
    "chat-httpx",
    "tokens",
    "tokens-threads",
    "tools",
    "tools-stubbed",
)
COMPARED = {
    "verifiers over ours, chat": ("verifiers", "ours, chat"),
    "TRL over ours, tools": ("TRL, http", "ours, tools"),
    "TRL over ours, tools, generation stubbed": ("TRL, stubbed", "ours, tools-stubbed"),
}


class Bench:
    """Runs drivers against one stub server."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.shown: dict[int, str] = {}

    def driver(self, python: str, name: str, *mode: str, episodes: int = EPISODES) -> Any:
        """What a driver printed, checked against what the server saw."""
        command = [python, str(HERE / f"driver_{name}.py"), f"{self.url}/v1"]
        done = subprocess.run(
            [*command, str(episodes), str(TURNS), *mode],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
        figures = json.loads(done.stdout.splitlines()[-1])
        with urllib.request.urlopen(f"{self.url}/count") as answer:
            replies = json.load(answer)
        assert replies == figures["replies"], (
            f"{name}: {replies} replies, {figures['replies']} said"
        )
        shown = figures.pop("observations")
        assert self.shown.setdefault(episodes, shown) == shown, f"{name} played other episodes"
        print(f"{name} {' '.join(mode)}: {figures['cpu_ms_per_turn']:.3f} ms a turn", flush=True)
        return figures

    def memory_kb(self, python: str, name: str, *mode: str) -> float:
        """Growth of the resident set per concurrent episode, from 64 to 512 of them."""
        few, many = (self.driver(python, name, *mode, episodes=n) for n in (EPISODES, MANY))
        return float(many["max_rss_kb"] - few["max_rss_kb"]) / (MANY - EPISODES)


def peer(options: argparse.Namespace, name: str, module: str) -> str | None:
    """The interpreter given for a peer, sure to have it; None, with a word, where none is given."""
    python: str | None = getattr(options, name)
    if python is None:
        print(f"{name}: left out; --{name} takes a python that has it")
        return None
    found = subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False)
    if found.returncode:
        sys.exit(f"{python} cannot import {module}: give --{name} a python that has it")
    return python


def ratios(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Peer over ours, for those that ran."""
    return {
        name: rows[other]["cpu_ms_per_turn"] / rows[mine]["cpu_ms_per_turn"]
        for name, (other, mine) in COMPARED.items()
        if other in rows
    }


def main() -> None:
    """Run everything and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--verifiers", help="python with verifiers 0.4")
    parser.add_argument("--trl", help="python with trl 1.16, datasets and requests")
    options = parser.parse_args()
    verifiers = peer(options, "verifiers", "verifiers.v1")
    trl = peer(options, "trl", "trl, datasets, requests")
    busy = os.getloadavg()[0]
    stub = subprocess.Popen([sys.executable, str(HERE / "stub.py")], stdout=subprocess.PIPE)
    try:
        assert stub.stdout is not None
        bench = Bench(int(stub.stdout.readline()))
        rows = {"aiohttp alone, tokens": bench.driver(sys.executable, "raw")}
        for mode in OURS:
            rows[f"ours, {mode}"] = bench.driver(sys.executable, "ours", mode)
        if verifiers:
            rows["verifiers"] = bench.driver(verifiers, "verifiers")
        if trl:
            for mode in ("stubbed", "http"):
                rows[f"TRL, {mode}"] = bench.driver(trl, "trl", mode)
        memory = {"ours, tokens": bench.memory_kb(sys.executable, "ours", "tokens")}
    finally:
        stub.kill()
        stub.wait()
    result = {
        "format_version": 2,
        "command": "python benchmarks/rollout/run.py --verifiers PYTHON --trl PYTHON",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "load_average_before": busy,
        "episodes": EPISODES,
        "turns": TURNS,
        "rows": rows,
        "ratios": ratios(rows),
        "kb_per_concurrent_episode": memory,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    for name, ratio in result["ratios"].items():
        print(f"{name}: {ratio:.1f}x")


if __name__ == "__main__":
    main()
