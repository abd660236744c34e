"""`turngym swe`: honest answers in real containers, resume, repeats, reports, exit codes."""

import json

import pytest
from typer.testing import CliRunner

from swe_docker import require_docker
from swe_task import BUGGY, FILES, FIXED, GOLD, OLD_TESTS, ROW, SEED, TASK, diff
from turngym.cli_swe import app
from turngym.envs.sandbox import Limits
from turngym.envs.swe.evaluate import EvalSettings, evaluate
from turngym.envs.swe.predictions import Prediction
from turngym.envs.swe.tasks import task_of
from turngym.envs.swe.verdict import Verdict

pytestmark = pytest.mark.docker

FAST = EvalSettings(timeout_s=30, limits=Limits(disk_mb=64))


@pytest.fixture(autouse=True, scope="module")
def daemon():
    require_docker()


def verdict_of(patch, reverse=False, task=TASK):
    answer = Prediction(instance_id=task.instance_id, patch=patch, reverse=reverse)
    return evaluate(task, answer, FAST, SEED)


HONEST = {
    "the reference fix": GOLD,
    "another fix": diff(
        "sums.py",
        BUGGY,
        BUGGY.replace("values[1:]", "iter(values)").replace("+= value", "+= +value"),
    ),
    "a rewrite": diff(
        "sums.py",
        BUGGY,
        FIXED.split("def total")[0]
        + (
            "def total(values):\n    return sum(values)\n\n\ndef mean(values):\n"
            "    if not values:\n        raise ValueError('none')\n"
            "    return total(values) / len(values)\n"
        ),
    ),
    "a fix with new files": GOLD
    + diff("docs/new.md", None, "text\n")
    + diff("tests/test_more.py", None, "def test_more():\n    assert True\n"),
    "a fix that edits the tests": GOLD
    + diff("tests/test_sums.py", OLD_TESTS, OLD_TESTS.replace("== 0", "== 1")),
    "a fix that deletes the tests": GOLD + diff("tests/test_sums.py", OLD_TESTS, None),
    "a fix without a last newline": GOLD.rstrip("\n"),
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_fixes_are_accepted(name):
    result = verdict_of(HONEST[name])
    assert result.verdict is Verdict.RESOLVED, (result.reason, result.evidence, result.log)


def test_a_patch_that_needs_fuzz_is_applied_by_patch():
    fuzzy = GOLD.replace(" def total(values):", " def totals(values):")
    result = verdict_of(fuzzy)
    assert (result.verdict, result.apply_method) == (Verdict.RESOLVED, "patch")


@pytest.mark.parametrize(
    ("patch", "verdict"),
    [
        (diff("README.md", "sums\n", "more sums\n"), Verdict.UNRESOLVED),
        (diff("sums.py", BUGGY, FIXED.replace("result = 0", "result = 1")), Verdict.UNRESOLVED),
        (diff("sums.py", BUGGY, "syntax error here\n"), Verdict.UNRESOLVED),
        (diff("sums.py", BUGGY, None), Verdict.UNRESOLVED),
        (diff("sums.py", "x\ny\nz\n", "x\nq\nz\n"), Verdict.PATCH_REFUSED),
        ("not a patch", Verdict.PATCH_REFUSED),
        ("", Verdict.EMPTY_PATCH),
        (None, Verdict.EMPTY_PATCH),
        ("  \n", Verdict.EMPTY_PATCH),
    ],
)
def test_other_answers_get_their_verdict(patch, verdict):
    assert verdict_of(patch).verdict is verdict


def test_half_an_answer_is_partly_graded():
    # mean is repaired without total: one parametrisation works by accident.
    half = diff("sums.py", BUGGY, BUGGY.replace("return total(values) /", "return sum(values) /"))
    result = verdict_of(half)
    assert result.verdict is Verdict.UNRESOLVED
    for grade in (result.log_grade, result.sealed_grade):
        assert grade is not None and grade.resolution == "RESOLVED_PARTIAL"
        assert grade.not_fixed == ("tests/test_sums.py::test_total",)


def test_endless_tests_are_a_time_out_and_a_missing_image_an_infra_failure():
    endless = diff("sums.py", BUGGY, BUGGY.replace("result = 0", "while True: pass"))
    quick = EvalSettings(timeout_s=3, limits=Limits(disk_mb=64))
    answer = Prediction(instance_id=TASK.instance_id, patch=endless)
    assert evaluate(TASK, answer, quick, SEED).verdict is Verdict.TIMEOUT
    lost = task_of(ROW | {"image": "turngym/none:1"})
    result = verdict_of(GOLD, task=lost)
    assert result.verdict is Verdict.INFRA_FAILURE and "no such image" in result.reason


def test_a_swe_smith_row_is_bugged_first_and_its_gold_is_the_bug_reversed():
    bug = diff("sums.py", FIXED, BUGGY)
    row = {
        "instance_id": "smith__x",
        "repo": "swesmith/tiny__sums.0000000",
        "image_name": ROW["image"],
        "patch": bug,
        "FAIL_TO_PASS": ["tests/test_sums.py::test_total"],
        "PASS_TO_PASS": ["tests/test_sums.py::test_empty"],
    }
    del row["FAIL_TO_PASS"][0]  # the old tests of the tiny task do not see the bug
    task = task_of(row | {"files": {**FILES, "sums.py": FIXED}})
    for patch, reverse, verdict in ((bug, True, Verdict.RESOLVED), (bug, False, None)):
        answer = Prediction(instance_id="smith__x", patch=patch, reverse=reverse)
        got = evaluate(task, answer, FAST)
        assert got.verdict is (verdict or Verdict.PATCH_REFUSED), got.reason


@pytest.fixture
def dataset(tmp_path):
    rows = [ROW | {"files": FILES}, ROW | {"instance_id": "tiny__sums-2", "files": FILES}]
    path = tmp_path / "tasks.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_eval_writes_reports_and_resumes(dataset, tmp_path):
    answers = tmp_path / "preds.json"
    answers.write_text(
        json.dumps({"tiny__sums-1": {"model_name_or_path": "a/b", "model_patch": GOLD}})
    )
    out = tmp_path / "out"
    common = ["--dataset", str(dataset), "--predictions", str(answers), "--out", str(out)]
    first = CliRunner().invoke(app, ["eval", *common, "--workers", "2", "--timeout", "30"])
    assert first.exit_code == 0, first.output
    report = json.loads((out / "a__b.run.json").read_text())
    assert report["resolved_ids"] == ["tiny__sums-1"]
    assert report["incomplete_ids"] == ["tiny__sums-2"]
    folder = out / "logs/run_evaluation/run/a__b"
    body = json.loads((folder / "tiny__sums-1/report.json").read_text())["tiny__sums-1"]
    assert body["resolved"] and len(body["tests_status"]["FAIL_TO_PASS"]["success"]) == 3
    assert "test_total" in (folder / "tiny__sums-1/test_output.txt").read_text()
    again = CliRunner().invoke(app, ["eval", *common, "--resume"])
    assert again.exit_code == 0 and "tiny__sums-1: resolved" not in again.output
    shown = CliRunner().invoke(app, ["report", str(folder), "--dataset", str(dataset)])
    assert "resolved 1 of 1 submitted (2 tasks)" in shown.output


def test_validate_accepts_sound_tasks_and_names_unsound_ones(dataset, tmp_path):
    rows = [json.loads(line) for line in dataset.read_text().splitlines()]
    rows[1]["patch"] = diff("README.md", "sums\n", "x\n")
    dataset.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "v"
    result = CliRunner().invoke(app, ["validate", "--dataset", str(dataset), "--out", str(out)])
    assert result.exit_code == 1, result.output
    assert (out / "valid.txt").read_text() == "tiny__sums-1\n"
    assert "the reference fix is unresolved" in result.output


def test_differing_verdicts_are_flaky(tmp_path):
    from turngym.envs.swe.run import RunSettings, run_evaluation

    # Fails on every other run: the verifier is fresh each time, so only chance can differ.
    flaky = diff(
        "sums.py", BUGGY, FIXED.replace("result = 0", "import os; result = os.urandom(1)[0] % 2")
    )
    task = task_of(ROW | {"files": FILES, "PASS_TO_PASS": [], "FAIL_TO_PASS": ROW["FAIL_TO_PASS"]})
    answer = Prediction(instance_id=task.instance_id, patch=flaky)
    settings = RunSettings(out=tmp_path, repeat=2, evaluation=FAST)
    report = run_evaluation([task], [answer], settings)
    assert report["resolved_instances"] == 0
