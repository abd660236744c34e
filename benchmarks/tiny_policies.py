"""What the tiny policies learn: held-out success before and after RL, by credit method.

    python benchmarks/tiny_policies.py emotional_support        # about 50 minutes on one core
    python benchmarks/tiny_policies.py tool_use --methods grpo

Trains the family's recipe with each credit method and seed, then plays the test tasks several times,
sampled, and once greedily, with the start and with each trained policy, under the same seeds. A run
whose line is there is not repeated, so the script can be stopped and started again. The result goes
to benchmarks/results/FAMILY_learning.json.

In conversational QA it stops if the name of a test entity occurs anywhere in a demonstration or in a
rollout of a training run, be it in the result of a failed search.

Intervals are over tasks: for each task the mean over seeds and repeats. They say what other tasks would
change, not what other seeds would; those stand one by one under `seeds`.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers

import turngym
from turngym.serial import read_jsonl
from turngym.trainers.config import TrainConfig, load_recipe
from turngym.trainers.evaluate import evaluate
from turngym.trainers.intervals import Interval, clustered_mean, clustered_share
from turngym.trainers.policy import Policy
from turngym.trainers.tiny import FAMILIES
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
CURVE = 10
"""Steps between the points of a training curve; each is the mean of that many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a family is measured."""

    methods: tuple[str, ...] = ("grpo",)
    tasks: int = 10**6
    """The first so many test tasks; all, if there are not as many."""
    repeats: int = 4
    """Sampled episodes per task."""


PLANS = {
    "conversational_qa": Plan(tasks=768, repeats=2),
    "emotional_support": Plan(
        methods=("grpo", "mapo", "batch only", "turn only", "prompt only", "mica")
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family")
    parser.add_argument("--methods", nargs="*", choices=METHODS)
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    target = RESULTS / f"{chosen.family}_learning.json"
    runs: dict[str, Any] = json.loads(target.read_text())["runs"] if target.exists() else {}
    plan = PLANS.get(chosen.family, Plan())
    if "start" not in runs:
        refuse_leaks(chosen.family, FAMILIES[chosen.family].demonstrations())
        runs["start"] = measured(load_recipe(chosen.family, ["threads=1"]), None, plan)
        write(target, chosen.family, runs)
    for seed in range(chosen.seeds):
        for method in chosen.methods or plan.methods:
            if f"{method} {seed}" not in runs:
                runs[f"{method} {seed}"] = trained(chosen.family, method, seed, plan)
                write(target, chosen.family, runs)
    write(target, chosen.family, runs)
    print(json.dumps(summary(runs, plan), indent=1))


def trained(family: str, method: str, seed: int, plan: Plan) -> dict[str, Any]:
    """One training run, measured."""
    overrides = [*METHODS[method], f"seed={seed}", "evaluation.episodes=0", "threads=1"]
    config = load_recipe(family, [*overrides, "checkpoint_every=10000"])
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train(config, folder, report=lambda text: print(f"{method} {seed}: {text}", flush=True))
        seconds = time.perf_counter() - began
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        shares = [json.loads(line)["metrics"]["success"] for line in lines]
        files = sorted((folder / "trajectories").glob("step-*.jsonl"))
        refuse_leaks(family, (episode for file in files for episode in read_jsonl(file)))
        result = measured(config, folder / "checkpoints" / f"step-{config.steps:06d}", plan)
    curve = [sum(shares[i : i + CURVE]) / CURVE for i in range(0, len(shares), CURVE)]
    return {**result, "training": [round(x, 3) for x in curve], "seconds": round(seconds)}


def refuse_leaks(family: str, episodes: Iterable[Trajectory]) -> None:
    """Stop if anything that these episodes read or wrote names an entity of the test split."""
    if family != "conversational_qa":
        return  # elsewhere the splits share names, such as those of weekdays or people
    world = FAMILIES[family].make().unwrapped.source.world
    names = sorted(name for name, entity in world.entities.items() if entity.split == "test")
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, names))})\b")
    for episode in episodes:
        for turn in episode.turns:
            for message in turn.seen:
                if found := pattern.search(message.content):
                    raise SystemExit(f"{episode.episode} shows {found[0]!r}, a test entity")


def measured(config: TrainConfig, checkpoint: Path | None, plan: Plan) -> dict[str, Any]:
    """Success and outcome of test tasks: sampled (mean of the repeats), and success greedily."""
    torch.set_num_threads(1)
    policy = Policy.load(config.policy, checkpoint)
    sampled = [played(config, policy, 1.0, repeat, plan) for repeat in range(plan.repeats)]
    greedy = played(config, policy, 0.0, 0, plan)
    return {
        "sampled": {task: mean([bool(one[task].success) for one in sampled]) for task in greedy},
        "outcome": {
            task: round(mean([one[task].outcome or 0.0 for one in sampled]), 4) for task in greedy
        },
        "greedy": {task: float(bool(episode.success)) for task, episode in greedy.items()},
    }


def played(
    config: TrainConfig, policy: Policy, temperature: float, repeat: int, plan: Plan
) -> dict[str, Trajectory]:
    """One episode of each task."""
    episodes: list[Trajectory] = []
    evaluate(
        config.env.make,
        policy.agent,
        split="test",
        episodes=plan.tasks,
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
        "summary": summary(runs, PLANS.get(family, Plan())),
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


def summary(runs: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """Per method: success after training, its gain over the start, and the difference to GRPO of the same seeds."""
    by_method: dict[str, dict[str, Any]] = {method: {} for method in METHODS}
    for name, run in runs.items():
        method, _, seed = name.rpartition(" ")
        if method:
            by_method[method][seed] = run
    start, base = [runs["start"]], by_method["grpo"]
    found: dict[str, Any] = {"start": levels(start, plan)}
    for method, by_seed in by_method.items():
        done = list(by_seed.values())
        if not done:
            continue
        row = levels(done, plan)
        for what in ("sampled", "greedy", "outcome"):
            if what in start[0]:
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


def levels(done: Sequence[Mapping[str, Any]], plan: Plan) -> dict[str, Any]:
    """Success, sampled and greedy, and outcome over all runs, with intervals over tasks.

    Outcomes are there where they were recorded: the first runs in conversational QA have none.
    """
    tries = {"sampled": plan.repeats * len(done), "greedy": len(done)}
    found = {}
    for what, repeats in tries.items():
        values = over_seeds(done, what)
        found[what] = figures(clustered_share([[v] for v in values], repeats * len(values)))
    if "outcome" in done[0]:
        found["outcome"] = figures(clustered_mean([[v] for v in over_seeds(done, "outcome")]))
    return found


def difference(
    after: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]], what: str
) -> dict[str, float]:
    """Mean over tasks of the difference between two sets of runs."""
    pairs = zip(over_seeds(after, what), over_seeds(before, what), strict=True)
    return figures(clustered_mean([[a - b] for a, b in pairs]))


def over_seeds(done: Sequence[Mapping[str, Any]], what: str) -> list[float]:
    """Per task, in the order of their names, the mean over runs."""
    return [mean([run[what][task] for run in done]) for task in sorted(done[0][what])]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def figures(interval: Interval) -> dict[str, float]:
    """As JSON."""
    return {name: round(value, 3) for name, value in asdict(interval).items()}


if __name__ == "__main__":
    main()
