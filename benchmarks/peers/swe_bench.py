"""swebench 5.0.2's run_instance, for benchmarks/swe.py: run by the Python of its own environment.

    python swe_bench.py ROWS WORKERS

ROWS is a JSON list of rows in SWE-bench's fifth form, each with a `model_patch`. Prints one JSON list:
instance_id, resolved, wall seconds and seconds of the tests. Works in a temporary folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker


def evaluate(row: dict[str, Any], client: Any, run: str) -> dict[str, Any]:
    """One answer through the harness."""
    from swebench.harness.run_evaluation import run_instance
    from swebench.types import TestSpec

    spec = TestSpec(
        instance_id=row["instance_id"],
        image=row["image"],
        eval_script_list=row["eval_script"].split("\n"),
        repo=row["repo"],
        version="1",
        FAIL_TO_PASS=json.loads(row["FAIL_TO_PASS"]),
        PASS_TO_PASS=json.loads(row["PASS_TO_PASS"]),
        log_parser="parse_log_pytest",
        eval_type="pass_and_fail",
    )
    answer = {key: row[key] for key in ("instance_id", "model_patch")}
    began = time.perf_counter()
    _, report = run_instance(
        spec, answer | {"model_name_or_path": "peer"}, client, run, timeout=300
    )
    wall = time.perf_counter() - began
    log = Path(
        "logs/run_evaluation", run, "peer", row["instance_id"], "run_instance.log"
    ).read_text()
    tests = re.search(r"Test runtime: ([\d._]+) seconds", log)
    return {
        "instance_id": row["instance_id"],
        "resolved": report[row["instance_id"]]["resolved"],
        "seconds": round(wall, 3),
        "test_seconds": float(tests[1]) if tests else None,
    }


def main(path: str, workers: int) -> list[dict[str, Any]]:
    """All rows."""
    rows = json.loads(Path(path).read_text())
    os.chdir(tempfile.mkdtemp())
    client = docker.from_env(timeout=300, max_pool_size=64)
    with ThreadPoolExecutor(workers) as pool, contextlib.redirect_stdout(sys.stderr):
        return list(
            pool.map(lambda pair: evaluate(pair[1], client, f"r{pair[0]}"), enumerate(rows))
        )


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
