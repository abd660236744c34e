"""`turngym swe synth` in real containers: what is kept breaks a test, leaves one, and validates."""

import json

import pytest
from typer.testing import CliRunner

from swe_docker import IMAGE, require_docker
from turngym.cli_swe import app
from turngym.envs.swe.run import load_tasks

pytestmark = pytest.mark.docker

CODE = '''"""Marks."""


def grade(points):
    if points < 50:
        return "fail"
    return "pass"


def unused(points):
    return points < 10


def mean(marks):
    return sum(marks) / len(marks)
'''
TESTS = """from marks import grade, mean


def test_pass():
    assert grade(50) == "pass"


def test_fail():
    assert grade(49) == "fail"


def test_mean():
    assert mean([1, 2, 6]) == 3


def test_broken_already():
    assert grade(0) == "pass"
"""


@pytest.fixture(autouse=True, scope="module")
def daemon():
    require_docker()


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "marks-1.0"
    (root / "tests").mkdir(parents=True)
    (root / "marks.py").write_text(CODE)
    (root / "tests/test_marks.py").write_text(TESTS)
    (root / "setup.cfg").write_text("[tool:pytest]\naddopts = --cov=marks\n")
    return root


def synth(*arguments):
    return CliRunner().invoke(app, ["synth", *map(str, arguments), "--image", IMAGE])


def test_kept_bugs_validate_and_the_same_seed_keeps_the_same(tree, tmp_path):
    rows, again = tmp_path / "rows.jsonl", tmp_path / "again.jsonl"
    common = [tree, "--transform", "move_boundary", "--transform", "forget_result"]
    done = synth(*common, "--out", rows, "--workers", 2)
    assert done.exit_code == 0, done.output
    # The boundary in `unused` breaks nothing; what fails on the healthy package is no test.
    assert "survived: move_boundary in marks.py:unused" in done.output
    tasks = load_tasks(str(rows))
    assert len(tasks) >= 3
    for task in tasks:
        ids = {*task.expected.fail_to_pass, *task.expected.pass_to_pass}
        names = {test.rpartition("::")[2] for test in ids}
        assert {"test_pass", "test_fail", "test_mean"} <= names
        assert "test_broken_already" not in names
        assert task.expected.fail_to_pass and task.expected.pass_to_pass
    (boundary,) = [t for t in tasks if "+    if points < 50:" in t.gold_patch]
    assert boundary.expected.fail_to_pass == ("tests/test_marks.py::test_pass",)
    out = tmp_path / "v"
    checked = CliRunner().invoke(
        app, ["validate", "--dataset", str(rows), "--out", str(out), "--workers", "2"]
    )
    assert checked.exit_code == 0, checked.output
    synth(*common, "--out", again)
    first, second = (
        [json.loads(line)["instance_id"] for line in p.read_text().splitlines()]
        for p in (rows, again)
    )
    assert first == second


def test_a_package_whose_tests_all_fail_is_refused_with_the_remedy(tree, tmp_path):
    (tree / "tests/test_marks.py").write_text("import not_there\n")
    done = synth(tree, "--out", tmp_path / "rows.jsonl")
    assert done.exit_code != 0 and "Dockerfile.swe" in str(done.exception)
