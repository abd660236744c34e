"""Task rows, predictions and reports."""

import json
import os
from pathlib import Path

import pytest

from turngym.envs.swe.grading import Expected, Grade
from turngym.envs.swe.parsers import Status
from turngym.envs.swe.predictions import (
    Prediction,
    read_predictions,
    reference_predictions,
    write_predictions,
)
from turngym.envs.swe.tasks import form_of, read_tasks, task_of
from turngym.envs.swe.verdict import InstanceResult, Verdict, instance_report, run_report
from turngym.errors import DataError

SHARED = Path(
    os.environ.get("TURNGYM_SHARED", Path(__file__).resolve().parents[1].parent / "shared")
)
needs_data = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="needs the shared data")

BENCH = {
    "repo": "psf/requests",
    "instance_id": "psf__requests-1",
    "base_commit": "abc",
    "patch": "diff --git a/x b/x\n",
    "test_patch": "",
    "problem_statement": "It breaks.",
    "FAIL_TO_PASS": '["t.py::a"]',
    "PASS_TO_PASS": ["t.py::b"],
}


def test_test_lists_are_read_as_json_text_and_as_lists():
    task = task_of(BENCH)
    assert task.expected == Expected(fail_to_pass=("t.py::a",), pass_to_pass=("t.py::b",))
    assert task.image == "swebench/sweb.eval.x86_64.psf_1776_requests-1:latest"


def test_version_five_keys_are_honoured():
    row = BENCH | {
        "image": "own:1",
        "eval_script": "make test",
        "log_parser": "parse_log_pytest_options",
        "eval_type": "fail_only",
    }
    task = task_of(row)
    assert (task.image, task.eval_script, task.absent) == ("own:1", "make test", "pass")


@needs_data
def test_real_rows_of_three_data_sets_are_told_apart():
    verified = read_tasks(SHARED / "data/nemo_gym/swebench__example.jsonl")
    assert [t.instance_id.rsplit("-", 1)[1] for t in verified] == [
        "12907",
        "13033",
        "13236",
        "13398",
        "13453",
    ]
    assert all(t.form == "swe-bench" and t.expected.fail_to_pass for t in verified)
    path = SHARED / "data/swe/swesmith_logs/pandas-dev__pandas.95280573.pr_53652.json"
    (smith,) = read_tasks(path)
    assert smith.form == "swe-smith" and smith.bug_patch and not smith.gold_patch
    assert (len(smith.expected.fail_to_pass), len(smith.expected.pass_to_pass)) == (2, 9)
    lines = (SHARED / "data/nemo_gym/swerl_gen__example.jsonl").read_text().splitlines()
    instance = json.loads(lines[0])["instance"]
    row = {"FAIL_TO_PASS": [], "PASS_TO_PASS": [], **instance, "repo": "python/mypy"}
    gym = task_of(row)
    assert gym.image == "xingyaoww/sweb.eval.x86_64.python_s_mypy-17071:latest"


@needs_data
def test_lite_rows_of_swe_agent_are_read():
    tasks = read_tasks(SHARED / "data/swe/sweagent_instances/swe-bench-lite-test.json")
    assert {"pytest-dev__pytest-11143", "django__django-16255"} <= {t.instance_id for t in tasks}


def test_r2e_and_multi_rows():
    r2e = {
        "repo_name": "pandas",
        "docker_image": "namanjain12/pandas_final:c1",
        "commit_hash": "c1",
        "problem_statement": "p",
        "expected_output_json": '{"A.test_x": "PASSED", "A.test_y": "FAILED"}',
    }
    task = task_of(r2e)
    assert form_of(r2e) == "r2e-gym" and task.expected_map is not None
    assert task.expected_map["A.test_y"] is Status.FAILED
    multi = {
        "org": "jqlang",
        "repo": "jq",
        "number": 2681,
        "base": {"sha": "s"},
        "resolved_issues": [{"title": "T", "body": "B"}],
        "fix_patch": "diff",
        "test_patch": "diff",
        "f2p_tests": {"a": {}},
        "n2p_tests": {"b": {}},
        "p2p_tests": {"c": {}},
    }
    task = task_of(multi)
    assert task.instance_id == "jqlang__jq-2681" and task.base_commit == "s"
    assert task.expected == Expected(fail_to_pass=("a", "b"), pass_to_pass=("c",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"FAIL_TO_PASS": "not json"}, "no JSON list"),
        ({"FAIL_TO_PASS": [1]}, "list of test ids"),
        ({"repo": None, "FAIL_TO_PASS": None}, "list of test ids"),
    ],
)
def test_faulty_rows_say_what_is_wrong(change, message):
    with pytest.raises(DataError, match=message):
        task_of(BENCH | change)


def test_a_missing_key_names_the_file_and_the_row(tmp_path):
    path = tmp_path / "rows.jsonl"
    bad = {k: v for k, v in BENCH.items() if k != "repo"}
    path.write_text(json.dumps(BENCH) + "\n" + json.dumps(bad) + "\n")
    with pytest.raises(DataError, match=r"row 2: the row has no 'repo'"):
        read_tasks(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.jsonl", '{"instance_id": "i", "model_name_or_path": "m", "model_patch": "d"}\n'),
        ("p.json", '[{"instance_id": "i", "model_name_or_path": "m", "model_patch": "d"}]'),
        ("p.json", '{"i": {"model_name_or_path": "m", "model_patch": "d"}}'),
        ("p.json", '[{"instance_id": "i", "model": "m", "patch": "d"}]'),
    ],
)
def test_every_form_of_predictions(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert read_predictions(tmp_path / name) == (Prediction(instance_id="i", patch="d", model="m"),)


def test_multi_swe_predictions_and_null_patches(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(
        '{"org": "o", "repo": "r", "number": 3, "fix_patch": "d"}\n'
        '{"instance_id": "i", "model_patch": null}\n'
    )
    first, second = read_predictions(path)
    assert first.instance_id == "o__r-3" and not first.empty and second.empty
    write_predictions((first, second), tmp_path / "q.jsonl")
    assert read_predictions(tmp_path / "q.jsonl") == (first, second)


def test_a_twice_answered_instance_is_refused(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"instance_id": "i", "model_patch": ""}\n' * 2)
    with pytest.raises(DataError, match="answered twice"):
        read_predictions(path)


def test_the_gold_of_a_bug_row_is_the_bug_backwards():
    smith = {
        "repo": "swesmith/a__b.c0ffee",
        "instance_id": "s",
        "patch": "bug",
        "image_name": "swesmith.x",
        "FAIL_TO_PASS": [],
        "PASS_TO_PASS": [],
    }
    plain, bug = reference_predictions((task_of(BENCH), task_of(smith)), "gold")
    assert (plain.reverse, bug.reverse, bug.patch) == (False, True, "bug")


# The keys that swebench 5.0.2 writes: specs of its reporting.py, schema version 2.
RUN_KEYS = {
    f"{name}_{kind}"
    for name in (
        "submitted completed resolved unresolved infra_failure ambiguous_failure empty_patch error"
    ).split()
    for kind in ("instances", "ids")
} | {"total_instances", "failure_reasons", "schema_version"}


def test_reports_have_the_keys_and_counts_of_schema_version_two():
    graded = Grade(fixed=("a",), not_fixed=(), kept=("b",), broken=())
    results = [
        InstanceResult(instance_id=f"i-{verdict}", model="m", verdict=verdict, log_grade=graded)
        for verdict in Verdict
    ]
    bodies = {}
    for result in results:
        bodies |= instance_report(result)
    one = bodies["i-resolved"]
    assert one["resolved"] is True
    assert one["tests_status"]["FAIL_TO_PASS"] == {"success": ["a"], "failure": []}
    assert {"patch_is_None", "patch_exists", "patch_successfully_applied"} <= set(one)
    report = run_report(bodies, ["i-resolved", "never-answered"])
    assert set(report) >= RUN_KEYS and report["schema_version"] == 2
    assert report["total_instances"] == 9 and report["submitted_instances"] == 8
    assert report["resolved_ids"] == ["i-resolved"]
    assert report["unresolved_ids"] == ["i-suspicious", "i-unresolved"]
    assert report["error_ids"] == ["i-patch_refused", "i-timeout"]
    assert report["incomplete_ids"] == ["never-answered"]
    # Infra failure, timeout and ambiguity are neither resolved nor unresolved.
    assert set(report["failure_reasons"]) == {
        "i-infra_failure",
        "i-timeout",
        "i-ambiguous",
        "i-patch_refused",
    }
