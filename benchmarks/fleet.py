"""What a Ray worker costs: the same episodes in this process and on workers of a local cluster.

    python benchmarks/fleet.py

One episode at a time gives the delay of a turn, 64 at a time the throughput and the work of the
driver. Trajectories are compared before anything is timed. Writes benchmarks/results/fleet.json;
about a minute on two cores.
"""

import datetime
import json
import os
import platform
import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import ray

import turngym
from turngym.agents.scripted import ScriptedAgent
from turngym.envs.env import TextEnv
from turngym.trainers.expert import expert_script
from turngym.trainers.rollout import Group, RolloutConfig, rollout
from turngym.types import Trajectory

RESULT = Path(__file__).resolve().parent / "results" / "fleet.json"
ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Medians over `ROUNDS` rollouts."""

    where: str
    concurrency: int
    episodes: int
    turns: int
    ms_per_episode: float
    ms_per_turn: float
    driver_cpu_ms_per_turn: float


def make() -> TextEnv:
    return turngym.make("turngym/WebShop-v0", size="demo")


def play(workers: str, concurrency: int, episodes: int) -> list[Trajectory]:
    config = RolloutConfig(workers=workers, concurrency=concurrency, deterministic=False)
    groups = [Group(key=str(i), seed=i) for i in range(episodes)]
    return rollout(make, ScriptedAgent(expert_script(make(), noise=0.3)), groups, config)


def measure(workers: str, concurrency: int, episodes: int) -> Row:
    walls, works = [], []
    turns = 0
    for _ in range(ROUNDS):
        wall, work = time.perf_counter(), time.process_time()
        turns = sum(len(t.turns) for t in play(workers, concurrency, episodes))
        walls.append(time.perf_counter() - wall)
        works.append(time.process_time() - work)
    wall, work = statistics.median(walls) * 1e3, statistics.median(works) * 1e3
    return Row(
        where=workers or "in process",
        concurrency=concurrency,
        episodes=episodes,
        turns=turns,
        ms_per_episode=round(wall / episodes, 3),
        ms_per_turn=round(wall / turns, 3),
        driver_cpu_ms_per_turn=round(work / turns, 3),
    )


def same(workers: str) -> None:
    """Stop if a worker plays anything else than this process."""
    here, there = play("", 8, 64), play(workers, 8, 64)
    for a, b in zip(here, there, strict=True):
        assert replace(a, seconds=0) == replace(b, seconds=0), f"{a.episode} differs on {workers}"


def main() -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    workers = ["", "ray:1", "ray:2"]
    rows = []
    for each in workers:
        if each:
            same(each)
        play(each, 8, 16)
        rows += [measure(each, 1, 32), measure(each, 64, 256)]
        print(*rows[-2:], sep="\n", flush=True)
    result = {
        "environment": "turngym/WebShop-v0 size=demo, scripted expert with noise 0.3",
        "rows": [asdict(row) for row in rows],
        "same_trajectories": True,
        "date": datetime.date.today().isoformat(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "versions": {
            "python": platform.python_version(),
            "ray": ray.__version__,
            "turngym": turngym.__version__,
        },
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
