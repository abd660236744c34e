"""What the tiny policies learn: held-out success before and after RL, by credit method.

    python benchmarks/tiny_policies.py emotional_support        # about 50 minutes on one core
    python benchmarks/tiny_policies.py tool_use --methods grpo

Trains the family's recipe with each credit method and seed, then plays every test task REPEATS times,
sampled, and once greedily, with the start and with each trained policy, under the same seeds. A run
whose line is there is not repeated, so the script can be stopped and started again. The result goes
to benchmarks/results/FAMILY_learning.json.

Intervals are over tasks: for each task the mean over seeds and repeats. They say what other tasks would
change, not what other seeds would; those stand one by one under `seeds`.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers

import turngym
from turngym.trainers.config import TrainConfig, load_recipe
from turngym.trainers.evaluate import evaluate
from turngym.trainers.intervals import Interval, clustered_mean, clustered_share
from turngym.trainers.policy import Policy
from turngym.trainers.train import train
from turngym.types import Trajectory

RESULTS = Path(__file__).resolve().parent / "results"
METHODS: Mapping[str, tuple[str, ...]] = {
    "grpo": ("credit.method=grpo",),
    "mapo": ("credit.method=mapo",),
    "mica": ("credit.method=mapo", "credit.preset=mica"),
    "batch only": ("credit.method=mapo", "credit.turn_weight=0", "credit.wide_weight=1"),
    "turn only": ("credit.method=mapo", "credit.turn_weight=1", "credit.wide_weight=0"),
    "prompt only": (
        "credit.method=mapo",
        "credit.preset=mica",
        "credit.turn_weight=0",
        "credit.wide_weight=1",
    ),
}
"""Single-level normalisations are MAPO with one of its two terms switched off."""
FIRST = {"emotional_support": ("grpo", "mapo", "batch only", "turn only", "prompt only", "mica")}
REPEATS = 4
CURVE = 10
"""Steps between the points of a training curve; each is the mean of that many."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family")
    parser.add_argument("--methods", nargs="*", choices=METHODS)
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    target = RESULTS / f"{chosen.family}_learning.json"
    runs: dict[str, Any] = json.loads(target.read_text())["runs"] if target.exists() else {}
    if "start" not in runs:
        runs["start"] = measured(load_recipe(chosen.family, ["threads=1"]), None)
        write(target, chosen.family, runs)
    for seed in range(chosen.seeds):
        for method in chosen.methods or FIRST.get(chosen.family, ("grpo",)):
            if f"{method} {seed}" not in runs:
                runs[f"{method} {seed}"] = trained(chosen.family, method, seed)
                write(target, chosen.family, runs)
    write(target, chosen.family, runs)
    print(json.dumps(summary(runs), indent=1))


def trained(family: str, method: str, seed: int) -> dict[str, Any]:
    """One training run, measured."""
    overrides = [*METHODS[method], f"seed={seed}", "evaluation.episodes=0", "threads=1"]
    config = load_recipe(family, [*overrides, "checkpoint_every=10000"])
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        train(
            config, Path(folder), report=lambda text: print(f"{method} {seed}: {text}", flush=True)
        )
        seconds = time.perf_counter() - began
        lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
        shares = [json.loads(line)["metrics"]["success"] for line in lines]
        last = Path(folder) / "checkpoints" / f"step-{config.steps:06d}"
        result = measured(config, last)
    curve = [sum(shares[i : i + CURVE]) / CURVE for i in range(0, len(shares), CURVE)]
    return {**result, "training": [round(x, 3) for x in curve], "seconds": round(seconds)}


def measured(config: TrainConfig, checkpoint: Path | None) -> dict[str, Any]:
    """Success of every test task, sampled (mean of the repeats) and greedy."""
    torch.set_num_threads(1)
    policy = Policy.load(config.policy, checkpoint)
    tasks = list(config.env.make().tasks("test"))
    sampled = [played(config, policy, 1.0, repeat) for repeat in range(REPEATS)]
    greedy = played(config, policy, 0.0, 0)
    return {
        "sampled": {
            task: sum(bool(one[task].success) for one in sampled) / REPEATS for task in tasks
        },
        "outcome": {
            task: round(sum(one[task].outcome or 0.0 for one in sampled) / REPEATS, 4)
            for task in tasks
        },
        "greedy": {task: float(bool(greedy[task].success)) for task in tasks},
    }


def played(
    config: TrainConfig, policy: Policy, temperature: float, repeat: int
) -> dict[str, Trajectory]:
    """One episode of each test task."""
    episodes: list[Trajectory] = []
    evaluate(
        config.env.make,
        policy.agent,
        split="test",
        episodes=10**6,
        sampling=config.sampling.sampling(temperature=temperature),
        seed=1000 + repeat,  # no training run has these seeds
        config=config.rollout,
        on_episode=episodes.append,
    )
    broken = [episode for episode in episodes if not episode.status.counts]
    if broken:
        raise RuntimeError(f"{len(broken)} episodes do not count; {broken[0].error}")
    return {episode.task_id: episode for episode in episodes}


def write(target: Path, family: str, runs: dict[str, Any]) -> None:
    """The runs and what they say."""
    target.parent.mkdir(exist_ok=True)
    result = {
        "family": family,
        "summary": summary(runs),
        "date": datetime.now(UTC).date().isoformat(),
        "device": f"{platform.processor() or platform.machine()}, 1 thread",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "turngym": turngym.__version__,
        },
        "runs": runs,
    }
    draft = target.with_suffix(".draft")
    draft.write_text(json.dumps(result, indent=None, separators=(",", ":")) + "\n")
    draft.replace(target)


def summary(runs: Mapping[str, Any]) -> dict[str, Any]:
    """Per method: success after training, its gain over the start, and the difference to GRPO of the same seeds."""
    by_method: dict[str, dict[str, Any]] = {method: {} for method in METHODS}
    for name, run in runs.items():
        method, _, seed = name.rpartition(" ")
        if method:
            by_method[method][seed] = run
    start, base = [runs["start"]], by_method["grpo"]
    found: dict[str, Any] = {"start": levels(start)}
    for method, by_seed in by_method.items():
        done = list(by_seed.values())
        if not done:
            continue
        row = levels(done)
        for what in ("sampled", "greedy", "outcome"):
            row[f"{what}_gain"] = difference(done, start, what)
        row["seeds"] = [round(mean(list(run["sampled"].values())), 3) for run in done]
        points = zip(*(run["training"] for run in done), strict=True)
        row["training"] = [round(mean(point), 3) for point in points]
        both = [seed for seed in by_seed if seed in base]
        if method != "grpo" and both:
            pair = [by_seed[seed] for seed in both], [base[seed] for seed in both]
            row["minus_grpo"] = difference(*pair, "sampled")
        found[method] = row
    return found


def levels(done: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Success, sampled and greedy, and outcome over all runs, with intervals over tasks."""
    tries = {"sampled": REPEATS * len(done), "greedy": len(done)}
    found = {}
    for what, repeats in tries.items():
        values = over_seeds(done, what)
        found[what] = figures(clustered_share([[v] for v in values], repeats * len(values)))
    found["outcome"] = figures(clustered_mean([[v] for v in over_seeds(done, "outcome")]))
    return found


def difference(
    after: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]], what: str
) -> dict[str, float]:
    """Mean over tasks of the difference between two sets of runs."""
    pairs = zip(over_seeds(after, what), over_seeds(before, what), strict=True)
    return figures(clustered_mean([[a - b] for a, b in pairs]))


def over_seeds(done: Sequence[Mapping[str, Any]], what: str) -> list[float]:
    """Per task, the mean over runs."""
    return [mean([run[what][task] for run in done]) for task in done[0][what]]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def figures(interval: Interval) -> dict[str, float]:
    """As JSON."""
    return {name: round(value, 3) for name, value in asdict(interval).items()}


if __name__ == "__main__":
    main()
