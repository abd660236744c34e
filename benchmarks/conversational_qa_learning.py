"""What the tiny policy of conversational QA learns about entities that training never showed.

    python benchmarks/conversational_qa_learning.py           # three seeds, a few minutes each

Trains `turngym train conversational_qa` with each seed, then plays the same held-out questions with
the supervised start and with each trained policy: sampled (the same temperature and seeds for both)
and greedily. Stops if the name of a test entity occurs anywhere in a demonstration or in a rollout of
a training run, be it in the result of a failed search. A finished run is not repeated, so that the
script can be stopped and started again. Writes benchmarks/results/conversational_qa_learning.json.

Intervals: for each question the mean over seeds, then the normal 95 % interval of the mean over
questions; per seed the same with one run. Differences are paired by question.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import tempfile
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers
from tiny_policies import differences, interval, mean

import turngym
from turngym.serial import read_jsonl
from turngym.trainers.config import TrainConfig, load_recipe
from turngym.trainers.evaluate import evaluate
from turngym.trainers.policy import Policy
from turngym.trainers.tiny import FAMILIES
from turngym.trainers.train import train
from turngym.types import Trajectory

OUT = Path(__file__).resolve().parent / "results" / "conversational_qa_learning.json"
FAMILY = "conversational_qa"
QUESTIONS = 768
REPEATS = 2
CURVE = 10
"""Steps between the points of a training curve; each is the mean of that many."""

Scores = dict[str, float]
"""Task id to success."""


def main() -> None:
    """Train, play, count, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    runs: dict[str, Any] = json.loads(OUT.read_text())["runs"] if OUT.exists() else {}
    if "start" not in runs:
        refuse_leaks(FAMILIES[FAMILY].demonstrations())
        runs["start"] = measured(settings(0), None)
        write(runs)
    for seed in range(seeds):
        if f"seed {seed}" not in runs:
            runs[f"seed {seed}"] = trained(seed)
            write(runs)
    print(json.dumps(summary(runs), indent=1))


def settings(seed: int) -> TrainConfig:
    """The recipe as it is shipped, but for its evaluation, which is ours."""
    overrides = [f"seed={seed}", "evaluation.episodes=0", "threads=1", "checkpoint_every=10000"]
    return load_recipe(FAMILY, overrides)


def trained(seed: int) -> dict[str, Any]:
    """One training run, measured."""
    config, began = settings(seed), time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train(config, folder, report=lambda text: print(f"seed {seed}: {text}", flush=True))
        seconds = time.perf_counter() - began
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        shares = [json.loads(line)["metrics"]["success"] for line in lines]
        files = sorted((folder / "trajectories").glob("step-*.jsonl"))
        refuse_leaks(episode for file in files for episode in read_jsonl(file))
        result = measured(config, folder / "checkpoints" / f"step-{config.steps:06d}")
    curve = [mean(shares[i : i + CURVE]) for i in range(0, len(shares), CURVE)]
    return {**result, "training": [round(x, 3) for x in curve], "seconds": round(seconds)}


def measured(config: TrainConfig, checkpoint: Path | None) -> dict[str, Scores]:
    """Success of the held-out questions, sampled (mean of the repeats) and greedy."""
    torch.set_num_threads(1)
    policy = Policy.load(config.policy, checkpoint)
    sampled = [played(config, policy, 1.0, repeat) for repeat in range(REPEATS)]
    return {
        "sampled": {task: mean([one[task] for one in sampled]) for task in sampled[0]},
        "greedy": played(config, policy, 0.0, 0),
    }


def played(config: TrainConfig, policy: Policy, temperature: float, repeat: int) -> Scores:
    """One episode of each question."""
    episodes: list[Trajectory] = []
    evaluate(
        config.env.make,
        policy.agent,
        split="test",
        episodes=QUESTIONS,
        sampling=config.sampling.sampling(temperature=temperature),
        seed=1000 + repeat,  # no training run has these seeds
        config=config.rollout,
        on_episode=episodes.append,
    )
    assert all(episode.status.counts for episode in episodes)
    return {episode.task_id: float(bool(episode.success)) for episode in episodes}


def refuse_leaks(episodes: Iterable[Trajectory]) -> None:
    """Stop if anything that these episodes read or wrote names an entity of the test split."""
    world = FAMILIES[FAMILY].make().unwrapped.source.world
    names = sorted(name for name, entity in world.entities.items() if entity.split == "test")
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, names))})\b")
    for episode in episodes:
        for turn in episode.turns:
            for message in turn.seen:
                if found := pattern.search(message.content):
                    raise SystemExit(f"{episode.episode} shows {found[0]!r}, a test entity")


def summary(runs: Mapping[str, Any]) -> dict[str, Any]:
    """Success before and after, the gain, and each seed's."""
    start = runs["start"]
    tasks = list(start["sampled"])
    done = {name: run for name, run in runs.items() if name != "start"}
    found: dict[str, Any] = {"questions": len(tasks)}
    for what in ("sampled", "greedy"):
        before = [start[what][task] for task in tasks]
        each = {name: [run[what][task] for task in tasks] for name, run in done.items()}
        row: dict[str, Any] = {"start": interval(before)}
        if each:
            after = [mean(list(values)) for values in zip(*each.values(), strict=True)]
            row["trained"] = interval(after)
            row["gain"] = interval(differences(after, before))
            row["gain_by_seed"] = {
                name: interval(differences(values, before)) for name, values in each.items()
            }
        found[what] = row
    return found


def write(runs: Mapping[str, Any]) -> None:
    """The runs and what they say."""
    OUT.parent.mkdir(exist_ok=True)
    result = {
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
    draft = OUT.with_suffix(".draft")
    draft.write_text(json.dumps(result, separators=(",", ":")) + "\n")
    draft.replace(OUT)


if __name__ == "__main__":
    main()
