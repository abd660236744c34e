"""A tiny repository with one bug, its hidden test and answers to it, for evaluation tests."""

import difflib
import json

from swe_docker import IMAGE, seed
from turngym.envs.swe.tasks import Task, task_of

BUGGY = '''"""Small sums."""


def total(values):
    result = 0
    for value in values[1:]:
        result += value
    return result


def mean(values):
    if not values:
        raise ValueError("no values")
    return total(values) / len(values)
'''
FIXED = BUGGY.replace("values[1:]", "values")
OLD_TESTS = """from sums import mean, total
import pytest


def test_empty():
    assert total([]) == 0


def test_no_mean():
    with pytest.raises(ValueError):
        mean([])
"""
NEW_TESTS = (
    OLD_TESTS
    + """

def test_total():
    assert total([1, 2, 3]) == 6


@pytest.mark.parametrize("values, wanted", [([2, 4], 3), ([5], 5)])
def test_mean(values, wanted):
    assert mean(values) == wanted
"""
)
FILES = {"sums.py": BUGGY, "tests/test_sums.py": OLD_TESTS, "README.md": "sums\n"}
SEED = seed(FILES)


def diff(path: str, before: str | None, after: str | None) -> str:
    """A git-style diff of one file; None means that it does not exist."""
    head = f"diff --git a/{path} b/{path}\n"
    if before is None:
        head += "new file mode 100644\n"
    if after is None:
        head += "deleted file mode 100644\n"
    body = difflib.unified_diff(
        (before or "").splitlines(keepends=True),
        (after or "").splitlines(keepends=True),
        "/dev/null" if before is None else f"a/{path}",
        "/dev/null" if after is None else f"b/{path}",
    )
    return head + "".join(body)


GOLD = diff("sums.py", BUGGY, FIXED)
ROW = {
    "instance_id": "tiny__sums-1",
    "repo": "tiny/sums",
    "image": IMAGE,
    "base_commit": "",
    "problem_statement": "total() forgets the first value.",
    "patch": GOLD,
    "test_patch": diff("tests/test_sums.py", OLD_TESTS, NEW_TESTS),
    "FAIL_TO_PASS": json.dumps(
        [
            "tests/test_sums.py::test_total",
            "tests/test_sums.py::test_mean[values0-3]",
            "tests/test_sums.py::test_mean[values1-5]",
        ]
    ),
    "PASS_TO_PASS": ["tests/test_sums.py::test_empty", "tests/test_sums.py::test_no_mean"],
}
TASK: Task = task_of(ROW)
