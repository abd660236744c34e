"""The sealed grader: the tests as the task has them, run where the candidate cannot reach them.

The tests, their conftest files and canaries lie in a folder that only root can write. The candidate's
code is on the import path after everything else, so that it cannot shadow pytest or the standard
library; its own conftest files, plugins, pytest settings and sitecustomize are never loaded. The
result line is authenticated by a key that no process holding candidate code has seen.
"""

import hashlib
import hmac
import importlib.resources
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from turngym.envs.sandbox.archive import pack
from turngym.envs.sandbox.docker_sandbox import DockerSandbox
from turngym.envs.swe.canary import Canary, canary_of
from turngym.envs.swe.commands import ACTIVATE
from turngym.envs.swe.grading import Grade, grade
from turngym.envs.swe.parsers import Status
from turngym.envs.swe.tasks import Task

__all__ = ["SealedResult", "is_test_support", "run_sealed", "seals"]

_FOLDER = "/run/sealed"
_MUST_PASS = "def test_{0}():\n    assert True\n"
_MUST_FAIL = "def test_{0}():\n    assert [1, {1}] == [1, {2}]\n"
_STATUS = {
    "passed": Status.PASSED,
    "failed": Status.FAILED,
    "error": Status.ERROR,
    "skipped": Status.SKIPPED,
    "xfailed": Status.XFAIL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedResult:
    """What the sealed run found."""

    grade: Grade | None
    """None: the run did not come to an end that can be trusted."""
    evidence: tuple[str, ...] = ()
    """Canaries that misbehaved and other signs of interference."""
    reason: str = ""
    """Why there is no grade."""
    timed_out: bool = False
    seconds: float = 0.0
    results: Mapping[str, Status] = field(default_factory=dict, repr=False)


def seals(task: Task) -> bool:
    """Whether the sealed grader applies: the ids are pytest's, `path::test`."""
    named = (*task.expected.fail_to_pass, *task.expected.pass_to_pass)
    return (
        task.expected_map is None
        and bool(named)
        and all(".py::" in test for test in named)
        and task.parser.removeprefix("parse_log_") not in ("django", "sympy", "go")
    )


def is_test_support(path: str) -> bool:
    """Whether a path belongs to the tests: a test module, a conftest, or below a test folder."""
    parts = PurePosixPath(path).parts
    name = parts[-1] if parts else ""
    return (
        name == "conftest.py"
        or (name.startswith("test_") and name.endswith(".py"))
        or name.endswith("_test.py")
        or any(part in ("tests", "test", "testing") for part in parts[:-1])
    )


def run_sealed(
    sandbox: DockerSandbox, task: Task, files: Mapping[str, bytes], timeout_s: float
) -> SealedResult:
    """Run the task's tests over the tree in `sandbox`.

    Args:
        files: the test-support files by path, as base commit and test patch have them.
    """
    named = (*task.expected.fail_to_pass, *task.expected.pass_to_pass)
    modules = tuple(dict.fromkeys(test.split("::")[0] for test in named))
    layout = _lay_out(modules, files)
    plan = {
        "workdir": task.workdir,
        "import_path": [f"{task.workdir}/src", task.workdir],
        "groups": layout.groups,
        "file_timeout_s": timeout_s,
    }
    content = {f"tests/{path}": data for path, data in layout.files.items()}
    content["plan.json"] = json.dumps(plan).encode()
    runner = importlib.resources.files("turngym.envs.swe") / "sealed_runner.py"
    content["sealed_runner.py"] = runner.read_bytes()
    sandbox.provide(_FOLDER, pack(content))
    key = secrets.token_bytes(32)
    done = sandbox.exec_as(
        ["bash", "-c", f"{ACTIVATE}; exec python -s {_FOLDER}/sealed_runner.py {_FOLDER}"],
        sandbox.spec.user,
        timeout_s * len(layout.groups) + 30,
        stdin=key,
    )
    sandbox.provide(_FOLDER, pack({}))  # the tests do not stay for whatever runs next
    line = done.output.rstrip().rpartition(b"\n")[2]
    tag, _, text = line.partition(b" ")
    wanted = hmac.new(key, text, hashlib.sha256).hexdigest().encode()
    if done.timed_out or not hmac.compare_digest(tag, wanted):
        tail = done.text[-1500:]
        reason = f"the sealed runner gave no authentic result (exit {done.exit_code}): {tail}"
        return SealedResult(
            grade=None, reason=reason, timed_out=done.timed_out, seconds=done.seconds
        )
    return _judge(json.loads(text), task, layout, done.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    files: dict[str, bytes]
    groups: list[dict[str, list[str]]]
    turned: dict[str, Canary]
    """Canary modules."""
    must_pass: frozenset[str]
    must_fail: frozenset[str]


def _lay_out(modules: tuple[str, ...], files: Mapping[str, bytes]) -> _Layout:
    """The sealed tree: per test module a plain canary before it and a turned copy after it."""
    made = dict(files)
    groups: list[dict[str, list[str]]] = []
    turned: dict[str, Canary] = {}
    must_pass, must_fail = set(), set()
    for module in modules:
        if module not in files:
            continue
        folder = PurePosixPath(module).parent
        word, other = f"test_{secrets.token_hex(4)}.py", f"test_{secrets.token_hex(4)}.py"
        names = secrets.token_hex(3), secrets.token_hex(3)
        first, second = secrets.randbelow(1000), 1000 + secrets.randbelow(1000)
        plain = str(folder / word)
        made[plain] = (
            _MUST_PASS.format(names[0]) + _MUST_FAIL.format(names[1], first, second)
        ).encode()
        must_pass.add(f"{plain}::test_{names[0]}")
        must_fail.add(f"{plain}::test_{names[1]}")
        group = [plain, module]
        canary = canary_of(files[module].decode("utf-8", "replace"))
        if canary is not None:
            copy = str(folder / other)
            made[copy] = canary.source.encode()
            turned[copy] = canary
            group.append(copy)
        # As pytest does by default: a test folder that is no package is on the import path.
        loose = str(folder / "__init__.py") not in files
        groups.append({"files": group, "import_path": [str(folder)] if loose else []})
    return _Layout(
        files=made,
        groups=groups,
        turned=turned,
        must_pass=frozenset(must_pass),
        must_fail=frozenset(must_fail),
    )


def _judge(children: list[dict[str, Any]], task: Task, layout: _Layout, s: float) -> SealedResult:
    results: dict[str, Status] = {}
    hits: dict[str, int] = {}
    evidence: list[str] = []
    for child, group in zip(children, layout.groups, strict=True):
        kinds = [event[0] for event in child["events"]]
        if "garbage" in kinds or kinds.count("done") != 1 or kinds[-1:] != ["done"]:
            # The child ended early (exit, crash, time) or wrote what pytest does not write.
            results |= {
                test: Status.ERROR
                for test in (*task.expected.fail_to_pass, *task.expected.pass_to_pass)
                if test.split("::")[0] in group["files"]
            }
            if "garbage" in kinds or kinds.count("done") > 1:
                evidence.append(f"forged events while running {group['files'][1]}")
            continue
        collected = {event[1] for event in child["events"] if event[0] == "collected"}
        for kind, test, outcome, number in child["events"]:
            if kind == "result":
                if test not in collected and "::" in test:
                    evidence.append(f"a result for {test}, which was not collected")
                status = _STATUS.get(outcome, Status.ERROR)
                if test in results and results[test] is not status and not status.passes:
                    results[test] = status
                else:
                    results.setdefault(test, status)
            elif kind == "hits":
                hits[test] = number
        evidence += _canary_evidence(results, hits, layout, group["files"])
    known = tuple(dict.fromkeys((*task.expected.fail_to_pass, *task.expected.pass_to_pass)))
    return SealedResult(
        grade=grade(results, task.expected, absent="fail"),
        evidence=tuple(evidence),
        timed_out=any(child["timed_out"] for child in children),
        seconds=s,
        results={test: results[test] for test in known if test in results},
    )


def _canary_evidence(
    results: Mapping[str, Status], hits: Mapping[str, int], layout: _Layout, files: list[str]
) -> list[str]:
    found = []
    for test in (t for t in layout.must_pass if t.split("::")[0] in files):
        if not results.get(test, Status.ERROR).passes:
            found.append(f"a test that must pass did not, beside {files[1]}")
    for test in (t for t in layout.must_fail if t.split("::")[0] in files):
        if results.get(test) is not Status.FAILED:
            found.append(f"a test that must fail did not, beside {files[1]}")
    for test, status in results.items():
        module, _, name = test.partition("::")
        function = name.rpartition("::")[2].partition("[")[0]
        canary = layout.turned.get(module) if module in files else None
        original = f"{files[1]}::{name}"
        if canary is not None and function in canary.turned and hits.get(test, 0):
            if not results.get(original, Status.ERROR).passes:
                continue  # an assertion that fails may hold once it is turned
            if status is Status.PASSED or (status.passes and not canary.expects_failures):
                found.append(f"{files[1]}: {name} passes although its assertions are turned")
    return found
