"""SWE: command latency, reset, evaluation overhead and throughput in real Docker containers.

    python benchmarks/swe.py            # about 40 s; needs a daemon and the base image (.ci/docker)

Prints the figures and writes them to benchmarks/results/swe.json. The peer in the same run is the
Docker SDK's own `exec_run` in the same container, which is what the common harnesses call.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from turngym.envs.sandbox import Limits, SandboxSpec
from turngym.envs.sandbox.archive import pack
from turngym.envs.sandbox.daemon import client
from turngym.envs.sandbox.docker_sandbox import DockerSandbox, Snapshot
from turngym.envs.swe.bundled import IMAGE, bundled_tasks
from turngym.envs.swe.evaluate import EvalSettings, evaluate
from turngym.envs.swe.predictions import reference_predictions
from turngym.envs.swe.verdict import Verdict

OUT = Path(__file__).parent / "results" / "swe.json"
SETTINGS = EvalSettings(timeout_s=60, limits=Limits(disk_mb=64))


def milliseconds(function: Callable[[], Any], times: int) -> float:
    """Median of `times` calls, after one that does not count."""
    function()
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        function()
        spent.append(1e3 * (time.perf_counter() - began))
    return round(statistics.median(spent), 3)


def sandbox_figures() -> dict[str, float]:
    """Latencies in one live container."""
    files = {f"pkg/m{i}.py": b"x = 1\n" * 50 for i in range(500)}
    seed = Snapshot(image=IMAGE, workdir="/testbed", archive=pack(files))
    spec = SandboxSpec(image=IMAGE)
    began = time.perf_counter()
    with DockerSandbox(spec, seed) as box:
        started = 1e3 * (time.perf_counter() - began)
        container = client().containers.get(box._container)
        assert box.exec("echo hi").output == container.exec_run(["echo", "hi"]).output
        ours = milliseconds(lambda: box.exec("true"), 300)
        peer = milliseconds(lambda: container.exec_run(["true"]), 15)
        return {
            "start_ms": round(started, 1),
            "command_ms": ours,
            "docker_exec_run_ms": peer,
            "times_faster_than_exec_run": round(peer / ours, 1),
            "python_pass_ms": milliseconds(lambda: box.exec("python -c pass"), 30),
            "megabyte_of_output_ms": milliseconds(
                lambda: box.exec("head -c 1000000 /dev/zero | tr '\\0' a"), 20
            ),
            "reset_500_files_ms": milliseconds(lambda: box.restore(seed), 30),
            "snapshot_500_files_ms": milliseconds(box.snapshot, 30),
        }


def evaluation_figures() -> dict[str, float]:
    """Both graders over the bundled tasks' reference fixes."""
    tasks = bundled_tasks()
    pairs = list(zip(tasks, reference_predictions(tasks, "gold"), strict=True))
    results = [evaluate(task, answer, SETTINGS) for task, answer in pairs]
    assert all(result.verdict is Verdict.RESOLVED for result in results)
    figures = {
        "seconds_per_evaluation": statistics.median(r.seconds for r in results),
        "overhead_s": statistics.median(r.seconds - r.test_seconds for r in results),
    }
    for workers in (1, 4):
        began = time.perf_counter()
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda pair: evaluate(*pair, SETTINGS), pairs))
        figures[f"evaluations_per_minute_{workers}_workers"] = (
            60 * len(pairs) / (time.perf_counter() - began)
        )
    return {name: round(value, 2) for name, value in figures.items()}


def main() -> None:
    """Measure, print and write."""
    report = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "load_average": round(os.getloadavg()[0], 1),  # beyond the cores, waits of 4 ms creep in
        "docker": client().version()["Version"],
        "sandbox": sandbox_figures(),
        "evaluation": evaluation_figures(),
    }
    text = json.dumps(report, indent=2)
    print(text)
    OUT.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
