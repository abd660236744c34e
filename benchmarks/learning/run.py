"""Train every method in every environment with every seed; a queue that can be stopped and resumed.

    python benchmarks/learning/run.py [--environment web_shop] [--only mapo]

Each finished run leaves one file in benchmarks/results/learning; a run whose file is there with
the same settings is not repeated. About two hours on one core. Then:

    python benchmarks/learning/summarize.py
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import tempfile
import time
from pathlib import Path

import torch
import transformers
from jobs import ENVIRONMENTS, METHODS, Job, jobs

import turngym
from turngym.errors import ConfigError
from turngym.trainers.train import train

RESULTS = Path(__file__).resolve().parents[1] / "results" / "learning"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environment", choices=ENVIRONMENTS)
    parser.add_argument("--only", choices=METHODS, help="one method")
    chosen = parser.parse_args()
    for job in jobs():
        if chosen.environment in (None, job.environment) and chosen.only in (None, job.method):
            take(job)


def take(job: Job) -> None:
    """Run one job unless its result is there; a method that the environment cannot feed is noted."""
    target = RESULTS / f"{job.name}.json"
    config = job.config()
    if target.exists() and json.loads(target.read_text())["key"] == job.key:
        return
    began = time.process_time()
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "run"
        try:
            train(config, folder, report=lambda line: print(f"{job.name}: {line}", flush=True))
        except ConfigError as refusal:
            result = {"refused": str(refusal)}
        else:
            result = measured(folder) | {"cpu_seconds": round(time.process_time() - began, 1)}
    result |= {
        "key": job.key,
        "date": datetime.date.today().isoformat(),
        "device": f"{platform.machine()}, 1 thread",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "turngym": turngym.__version__,
        },
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_suffix(".draft")
    draft.write_text(json.dumps(result, indent=1) + "\n")
    draft.replace(target)


def measured(folder: Path) -> dict:
    """The curves of a run.

    `training`: success of each step's 32 episodes. `held_out`: rows of steps taken, sampled tokens
    and episodes so far, success on the held-out tasks, how many tasks counted.
    """
    steps = lines(folder / "metrics.jsonl")
    tokens, episodes = [0], [0]
    for step in steps:
        metrics = step["metrics"]
        played = sum(v for name, v in metrics.items() if name.startswith("status/"))
        tokens.append(tokens[-1] + round(metrics["reply_tokens"] * step["num_turns"]))
        episodes.append(episodes[-1] + round(played))
    return {
        "training": [step["metrics"]["success"] for step in steps],
        "held_out": [
            {
                "step": row["step"],
                "tokens": tokens[row["step"]],
                "episodes": episodes[row["step"]],
                "success": row["success"]["value"],
                "counted": row["counted"],
            }
            for row in lines(folder / "evaluations.jsonl")
            if row["label"] != "expert"
        ],
    }


def lines(path: Path) -> list[dict]:
    """The lines of a JSONL file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


if __name__ == "__main__":
    main()
