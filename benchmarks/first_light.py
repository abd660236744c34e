"""Time the first training run as a user starts it, and record what it learned.

    python benchmarks/first_light.py [--twice]

Runs `turngym train web_shop` in a fresh folder (twice, to compare the metrics byte for byte), and
writes benchmarks/results/first_light.json. About four minutes a run on two cores.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import transformers

import turngym

RESULT = Path(__file__).resolve().parent / "results" / "first_light.json"


def run(folder: Path) -> float:
    """Seconds that the command takes."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "turngym", "train", "web_shop", "--out", str(folder)]
    subprocess.run(command, check=True)
    return time.perf_counter() - began


def lines(path: Path) -> list[dict]:
    """The lines of a JSONL file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--twice", action="store_true", help="check that a second run is the same")
    twice = parser.parse_args().twice
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "first"
        seconds = run(folder)
        result = {
            "command": "turngym train web_shop",
            "seconds": round(seconds, 1),
            "seconds_per_step": round(
                sum(t["rollout"] + t["update"] for t in lines(folder / "timings.jsonl"))
                / len(lines(folder / "timings.jsonl")),
                3,
            ),
            "held_out": {
                line["label"]: line["success"] for line in lines(folder / "evaluations.jsonl")
            },
        }
        if twice:
            run(Path(root) / "second")
            first, second = (
                (Path(root) / name / "metrics.jsonl").read_bytes() for name in ("first", "second")
            )
            result["second_run_has_the_same_metrics"] = first == second
    result |= {
        "date": datetime.date.today().isoformat(),
        "device": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "turngym": turngym.__version__,
        },
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
