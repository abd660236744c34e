"""SWE: command latency, reset, evaluation overhead and throughput in real Docker containers.

    python benchmarks/swe.py [--rex PYTHON] [--swebench PYTHON]

Needs a daemon and the base image (`.ci/docker`). The peers run in the same run, each by the Python of
an environment of its own (`pip install swe-rex==1.4.0 aiohttp`, `pip install swebench==5.0.2`); one that
is not given is left out. Verdicts are compared first: the figures count only if both harnesses agree.
Prints the figures and writes them to benchmarks/results/swe.json.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from turngym.envs.sandbox import Limits, SandboxSpec
from turngym.envs.sandbox.archive import pack
from turngym.envs.sandbox.daemon import client
from turngym.envs.sandbox.docker_sandbox import DockerSandbox, Snapshot
from turngym.envs.swe.bundled import IMAGE, bundled_tasks
from turngym.envs.swe.difference import diff_of
from turngym.envs.swe.evaluate import EvalSettings, evaluate
from turngym.envs.swe.predictions import Prediction
from turngym.envs.swe.tasks import Task, task_of
from turngym.envs.swe.verdict import InstanceResult, Verdict

HERE = Path(__file__).parent
OUT = HERE / "results" / "swe.json"
SETTINGS = EvalSettings(timeout_s=60, limits=Limits(disk_mb=64))
WORKERS = (1, 4, 8)


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
    began = time.perf_counter()
    with DockerSandbox(SandboxSpec(image=IMAGE), seed) as box:
        started = 1e3 * (time.perf_counter() - began)
        container = client().containers.get(box._container)
        command = ["docker", "exec", box._container]
        shown = subprocess.run([*command, "echo", "hi"], capture_output=True, check=True).stdout
        assert box.exec("echo hi").output == container.exec_run(["echo", "hi"]).output == shown
        ours = milliseconds(lambda: box.exec("true"), 300)
        peer = milliseconds(lambda: container.exec_run(["true"]), 30)
        by_hand = milliseconds(lambda: subprocess.run([*command, "true"], check=True), 30)
        return {
            "start_ms": round(started, 1),
            "command_ms": ours,
            "docker_exec_run_ms": peer,
            "docker_exec_ms": by_hand,
            "times_faster_than_exec_run": round(peer / ours, 1),
            "times_faster_than_docker_exec": round(by_hand / ours, 1),
            "python_pass_ms": milliseconds(lambda: box.exec("python -c pass"), 30),
            "megabyte_of_output_ms": milliseconds(
                lambda: box.exec("head -c 1000000 /dev/zero | tr '\\0' a"), 20
            ),
            "reset_500_files_ms": milliseconds(lambda: box.restore(seed), 30),
            "snapshot_500_files_ms": milliseconds(box.snapshot, 30),
        }


def build_rows(tasks: Sequence[Task]) -> tuple[list[Task], list[dict[str, Any]]]:
    """The tasks as images and rows of SWE-bench's fifth form, for both harnesses.

    Each task is answered twice: by its fix, and by a file that fixes nothing.
    """
    made: list[Task] = []
    rows: list[dict[str, Any]] = []
    for task in tasks:
        tag = f"turngym/benchmark:{task.instance_id.lower()}"
        _build(task, tag)
        tests = " ".join(task.test_files)
        row = {
            "instance_id": task.instance_id,
            "repo": task.repo,
            "patch": task.gold_patch,
            "test_patch": task.test_patch,
            "FAIL_TO_PASS": json.dumps(task.expected.fail_to_pass),
            "PASS_TO_PASS": json.dumps(task.expected.pass_to_pass),
            "image": tag,
            "log_parser": "parse_log_pytest",
            "eval_script": "\n".join(
                [
                    "cd /testbed",
                    f"git checkout HEAD -- {tests}",
                    f"git apply -v - <<'END_OF_TESTS'\n{task.test_patch}\nEND_OF_TESTS",
                    ": '>>>>> Start Test Output'",
                    f"python -m pytest -rA -p no:cacheprovider {tests}",
                    ": '>>>>> End Test Output'",
                    f"git checkout HEAD -- {tests}",
                ]
            ),
        }
        made.append(task_of(row))
        for patch in (task.gold_patch, diff_of("nothing.txt", None, "nothing\n")):
            rows.append({**row, "model_patch": patch})
    return made, rows


def _build(task: Task, tag: str) -> None:
    """An image with the repository under git in /testbed."""
    recipe = f"FROM {IMAGE}\nCOPY repo /testbed\nRUN cd /testbed && git init -q && git add -A"
    recipe += " && git -c user.name=x -c user.email=x@x commit -qm base\nWORKDIR /testbed\n"
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as out:
        files = {f"repo/{path}": text for path, text in (task.files or {}).items()}
        for name, text in {"Dockerfile": recipe, **files}.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            out.addfile(member, io.BytesIO(text.encode()))
    context.seek(0)
    client().images.build(
        fileobj=context, custom_context=True, tag=tag, network_mode="none", rm=True
    )


def evaluation_figures(swebench: str | None) -> dict[str, Any]:
    """Both graders over fixes and non-fixes, and the reference harness on the same rows."""
    tasks, rows = build_rows(bundled_tasks("tiny")[:3])
    by_id = {task.instance_id: task for task in tasks}

    def ours(row: Mapping[str, Any]) -> InstanceResult:
        answer = Prediction(instance_id=row["instance_id"], patch=row["model_patch"], model="x")
        return evaluate(by_id[answer.instance_id], answer, SETTINGS)

    results = [ours(row) for row in rows]
    resolved = [result.verdict is Verdict.RESOLVED for result in results]
    assert resolved == [True, False] * len(tasks), [r.verdict for r in results]
    overhead = statistics.median(r.seconds - r.test_seconds for r in results)
    figures: dict[str, Any] = {
        "seconds_per_evaluation": round(statistics.median(r.seconds for r in results), 2),
        "overhead_s": round(overhead, 3),
        "evaluations_per_minute": {
            workers: throughput(ours, rows if workers == 1 else rows * 2, workers)
            for workers in WORKERS
        },
    }
    if swebench:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(rows, file)
            file.flush()
            theirs = peer(swebench, "swe_bench.py", file.name, 4)
            one = peer(swebench, "swe_bench.py", _written(rows[:2]), 1)
        assert [row["resolved"] for row in theirs] == resolved, "the harnesses disagree"
        their_overhead = statistics.median(row["seconds"] - row["test_seconds"] for row in one)
        figures["swebench"] = {
            "overhead_s": round(their_overhead, 2),
            "times_ours": round(their_overhead / overhead, 1),
            "verdicts_compared": len(rows),
            "seconds_at_4_workers": round(statistics.median(r["seconds"] for r in theirs), 2),
        }
    for task in tasks:
        client().images.remove(task.image, force=True)
    return figures


def throughput(work: Callable[[Any], Any], items: Sequence[Any], workers: int) -> float:
    """Items per minute."""
    began = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, items))
    return round(60 * len(items) / (time.perf_counter() - began), 1)


def _written(rows: Sequence[Mapping[str, Any]]) -> str:
    path = Path(tempfile.mkdtemp()) / "rows.json"
    path.write_text(json.dumps(rows))
    return str(path)


def peer(python: str, script: str, *arguments: object) -> Any:
    """What a peer's script prints."""
    command = [python, str(HERE / "peers" / script), *map(str, arguments)]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{script} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rex", help="Python of an environment with swe-rex")
    parser.add_argument("--swebench", help="Python of an environment with swebench")
    chosen = parser.parse_args()
    before = os.getloadavg()[0]
    sandbox: dict[str, Any] = dict(sandbox_figures())
    if chosen.rex:
        sandbox["swe_rex"] = rex = peer(chosen.rex, "swe_rex.py", IMAGE, 20)
        assert rex["says"] == "hi"
        times = rex["run_in_session_ms"] / sandbox["command_ms"]
        sandbox["times_faster_than_swe_rex"] = round(times, 1)
    report = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "load_average": round(before, 1),  # beyond the cores, waits of 4 ms creep in
        "docker": client().version()["Version"],
        "sandbox": sandbox,
        "evaluation": evaluation_figures(chosen.swebench),
    }
    text = json.dumps(report, indent=2)
    print(text)
    OUT.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
