"""Driver CPU per turn over HTTP, ours beside its peers, in one run.

    python benchmarks/rollout/run.py --verifiers VENV/bin/python --trl VENV/bin/python

Each driver plays the same environment (64 episodes of 10 turns) against the same stub server, in a
process of its own, and only its own CPU time counts. What every episode was shown must be equal.
The floor is aiohttp and nothing else. Writes benchmarks/results/rollout_http.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results" / "rollout_http.json"
EPISODES, TURNS = 64, 10
MODES = ("tokens", "tokens-threads", "chat", "chat-httpx-aiohttp", "chat-httpx")


def driver(python: str, name: str, *arguments: object) -> dict[str, float | str]:
    """What a driver printed."""
    command = [python, str(HERE / f"driver_{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    figures: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
    print(f"{name} {' '.join(map(str, arguments[1:]))}: {figures['cpu_ms_per_turn']:.3f} ms a turn")
    return figures


def memory_kb(python: str, url: str, name: str, *mode: str) -> float:
    """Growth of the resident set per concurrent episode, from 64 to 512 of them."""
    few, many = (driver(python, name, url, n, TURNS, *mode) for n in (64, 512))
    return (float(many["max_rss_kb"]) - float(few["max_rss_kb"])) / (512 - 64)


def main() -> None:
    """Run everything and write the results."""
    options = argparse.ArgumentParser()
    options.add_argument("--verifiers", help="python with verifiers 0.4")
    options.add_argument("--trl", help="python with trl 1.16")
    peers = options.parse_args()
    stub = subprocess.Popen([sys.executable, str(HERE / "stub.py")], stdout=subprocess.PIPE)
    try:
        assert stub.stdout is not None
        url = f"http://127.0.0.1:{int(stub.stdout.readline())}/v1"
        rows = {"aiohttp alone": driver(sys.executable, "raw", url, EPISODES, TURNS)}
        for mode in MODES:
            rows[f"ours, {mode}"] = driver(sys.executable, "ours", url, EPISODES, TURNS, mode)
        memory = {"ours, tokens": memory_kb(sys.executable, url, "ours", "tokens")}
        if peers.verifiers:
            rows["verifiers"] = driver(peers.verifiers, "verifiers", url, EPISODES, TURNS)
        if peers.trl:
            rows["TRL, generation stubbed"] = driver(peers.trl, "trl", url, EPISODES, TURNS)
    finally:
        stub.kill()
        stub.wait()
    shown = {figures["observations"] for figures in rows.values() if "observations" in figures}
    assert len(shown) == 1, "the drivers did not play the same episodes"
    result = {
        "format_version": 1,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": platform.machine(),
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],
        "episodes": EPISODES,
        "turns": TURNS,
        "rows": rows,
        "kb_per_concurrent_episode": memory,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
