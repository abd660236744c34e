"""Runs inside the verifier container: pytest over sealed tests, one forked child per test file.

This file is copied into the container and run there by the image's Python (3.8 or newer) with the
image's pytest; turngym itself is not installed there and nothing here may import it.

The parent never imports code under test. It forks all children before it reads the key from its
standard input, so that no child ever holds the key; it then authenticates its one line of results
with that key. What a child reports can be no more honest than the code it imports: for that there
are the canaries.

Usage: sealed_runner.py FOLDER; the plan is FOLDER/plan.json, the key is read from standard input.
"""

from __future__ import annotations

import ctypes
import hashlib
import hmac
import json
import os
import select
import sys
from typing import Any

__all__ = ["main"]


def main() -> None:
    """Run the plan and print one authenticated line."""
    folder = sys.argv[1]
    with open(os.path.join(folder, "plan.json")) as file:
        plan: dict[str, Any] = json.load(file)
    import pytest  # noqa: F401  # from the image, before any code under test can be imported

    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: children cannot read our memory
    results = []
    deadline_s = float(plan["file_timeout_s"])
    children = [_fork(folder, plan, group) for group in plan["groups"]]
    key = sys.stdin.buffer.read()
    for pid, pipe, go in children:  # one after the other, as the tests expect
        os.write(go, b"g")
        os.close(go)
        results.append(_collect(pid, pipe, deadline_s))
    text = json.dumps(results)
    print("\n" + hmac.new(key, text.encode(), hashlib.sha256).hexdigest() + " " + text, flush=True)
    os._exit(0)


def _fork(folder: str, plan: dict[str, Any], group: dict[str, Any]) -> Any:
    """A child that waits for its turn, runs its files and writes one JSON line per event."""
    read, write = os.pipe()
    wait, go = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        os.close(wait)
        return pid, read, go
    os.close(read)
    os.close(go)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)  # neither the key nor the result line is in reach
    if os.read(wait, 1) != b"g":
        os._exit(1)
    os.setsid()
    _run(folder, plan, group, write)
    os._exit(0)


def _run(folder: str, plan: dict[str, Any], group: dict[str, Any], write: int) -> None:
    import pytest

    dumps, send = json.dumps, os.write

    class Recorder:
        def pytest_collection_modifyitems(self, items: list[Any]) -> None:
            for item in items:
                self._tell("collected", item.nodeid, "", 0)

        def pytest_runtest_logreport(self, report: Any) -> None:
            if report.when == "call" or report.outcome != "passed":
                outcome = report.outcome
                if hasattr(report, "wasxfail"):
                    outcome = "xfailed" if outcome == "skipped" else outcome
                elif report.when != "call" and outcome == "failed":
                    outcome = "error"
                self._tell("result", report.nodeid, outcome, 0)

        @pytest.hookimpl(hookwrapper=True)
        def pytest_runtest_protocol(self, item: Any) -> Any:
            hits = getattr(getattr(item, "module", None), "_hits_", None)
            if hits is not None:
                del hits[:]
            yield
            if hits is not None:
                self._tell("hits", item.nodeid, "", len(hits))

        def _tell(self, kind: str, test: str, outcome: str, number: int) -> None:
            send(write, (dumps([kind, test, outcome, number]) + "\n").encode())

    tests = os.path.join(folder, "tests")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ.pop("PYTEST_ADDOPTS", None)
    os.chdir(plan["workdir"])
    # The sealed tests before the repository: helpers that tests import are theirs, too.
    sealed = [tests, *(os.path.join(tests, path) for path in group["import_path"])]
    own = [entry for entry in sys.path if entry not in ("", folder)]
    sys.path = own + sealed + plan["import_path"]
    code = pytest.main(
        [
            "-q",
            "-c",
            os.devnull,
            "--rootdir",
            tests,
            "--confcutdir",
            tests,
            "--import-mode=importlib",
            "--continue-on-collection-errors",
            "-p",
            "no:cacheprovider",
            *[os.path.join(tests, file) for file in group["files"]],
        ],
        plugins=[Recorder()],
    )
    send(write, (dumps(["done", "", "", int(code)]) + "\n").encode())


def _collect(pid: int, pipe: int, timeout_s: float) -> dict[str, Any]:
    """What a child wrote until it ended, bounded in time and size."""
    import signal
    import time

    end, data, timed_out = time.monotonic() + timeout_s, b"", False
    while len(data) < 20_000_000:
        left = end - time.monotonic()
        if left <= 0:
            timed_out = True
            break
        if select.select([pipe], [], [], left)[0]:
            chunk = os.read(pipe, 65536)
            if not chunk:
                break
            data += chunk
    for target in (-pid, pid):
        try:
            (os.killpg if target < 0 else os.kill)(pid, signal.SIGKILL)
        except OSError:
            pass
    _, status = os.waitpid(pid, 0)
    events = []
    for line in data.splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            events.append(["garbage", "", "", 0])
    return {"events": events, "status": status, "timed_out": timed_out}


if __name__ == "__main__":
    main()
