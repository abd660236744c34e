"""The row of one procedural bug: issue text, fix and hidden tests in SWE-bench's form."""

import ast
import json
import textwrap
from collections.abc import Mapping
from typing import Any

from turngym.envs.swe.difference import diff_of
from turngym.envs.swe.synth.package import Package
from turngym.envs.swe.tasks import Task

__all__ = ["issue", "row_of"]

_SHOWN_TESTS = 3
_SHOWN_LINES = 40


def row_of(
    package: Package,
    task: Task,
    *,
    path: str,
    faulty: str,
    broken: tuple[str, ...],
    kept: tuple[str, ...],
) -> Mapping[str, Any]:
    """A row that `swe eval`, `swe validate` and SWE-v0 take; the repository lies in `files`.

    Args:
        path: the module with the bug; `faulty` is its text.
        broken: tests that fail with the bug; the files they lie in are hidden.
        kept: tests that pass with it.
    """
    hidden = sorted({test.split("::")[0] for test in broken})
    named = sorted({test.split("::")[0] for test in (*broken, *kept)})
    shown = {p: text for p, text in package.files.items() if p not in hidden}
    return {
        "instance_id": task.instance_id,
        "repo": task.repo,
        "version": package.version,
        "base_commit": "",
        "problem_statement": issue(package, broken),
        "patch": diff_of(path, faulty, package.files[path]),
        "test_patch": "".join(diff_of(p, None, package.files[p]) for p in hidden),
        "FAIL_TO_PASS": json.dumps(broken),
        "PASS_TO_PASS": json.dumps(kept),
        "image": task.image,
        "workdir": task.workdir,
        "log_parser": "pytest",
        "test_command": task.test_command,
        "test_files": named,
        "files": {**shown, path: faulty},
    }


def issue(package: Package, broken: tuple[str, ...]) -> str:
    """What a user would report: pieces of code that used to work, and no word of the cause."""
    parts = [
        f"Something in {package.name} {package.version} no longer works as it did.".replace(
            "  ", " "
        )
    ]
    seen: dict[str, None] = {}
    for test in broken:
        seen.setdefault(_code_of(package, test.partition("[")[0]), None)
    shown = [code for code in seen if code][:_SHOWN_TESTS]
    if shown:
        parts.append(
            "These used to pass and now fail:"
            if len(shown) > 1
            else "This used to pass and now fails:"
        )
    parts += [f"```python\n{code}\n```" for code in shown]
    if len(broken) > len(shown):
        parts.append(f"{len(broken)} tests fail in all.")
    return "\n\n".join(parts)


def _code_of(package: Package, test: str) -> str:
    """The source of a test function; '' where it is not written out in its file."""
    path, *names = test.split("::")
    source = package.files[path]
    body: list[ast.stmt] = ast.parse(source).body
    node: ast.stmt | None = None
    for name in names:
        node = next((n for n in body if getattr(n, "name", None) == name), None)
        if node is None:
            return ""
        body = getattr(node, "body", [])
    code = textwrap.dedent(ast.get_source_segment(source, node, padded=True) or "") if node else ""
    lines = code.splitlines()
    return "\n".join(lines if len(lines) <= _SHOWN_LINES else [*lines[:_SHOWN_LINES], "    ..."])
