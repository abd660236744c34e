"""Task rows of the SWE data sets, read into one type.

Known forms: SWE-bench (all versions; v5 brings image, eval_script, log_parser), SWE-smith (the row's
`patch` is the bug), SWE-Gym (other images), R2E-Gym (graded by the whole status map) and
Multi-SWE-bench (org, repo, number, fix_patch).
"""

import importlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from turngym.envs.swe.grading import Absent, Expected
from turngym.envs.swe.parsers import Status
from turngym.errors import DataError, closest

__all__ = ["Form", "Task", "form_of", "read_rows", "read_tasks", "task_of"]

Form = Literal["swe-bench", "swe-smith", "swe-gym", "r2e-gym", "multi-swe"]

_SWE_GYM_REPOSITORIES = frozenset(
    "bokeh/bokeh conan-io/conan dask/dask facebookresearch/hydra getmoto/moto iterative/dvc "
    "modin-project/modin pandas-dev/pandas Project-MONAI/MONAI pydantic/pydantic "
    "python/mypy".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One issue to resolve, and how an answer is graded."""

    instance_id: str
    repo: str
    form: Form = "swe-bench"
    base_commit: str = ""
    problem_statement: str = ""
    hints: str = ""
    version: str = ""
    gold_patch: str = ""
    """The reference fix; for SWE-smith the bug reversed is the fix, and this is empty."""
    bug_patch: str = ""
    """SWE-smith: applied to the image before the agent starts."""
    test_patch: str = ""
    expected: Expected
    expected_map: Mapping[str, Status] | None = None
    """R2E-Gym: the statuses must equal this map exactly; overrides `expected`."""
    absent: Absent = "fail"
    image: str = ""
    workdir: str = "/testbed"
    parser: str = ""
    """Name of the log parser; empty: by repository."""
    eval_script: str = ""
    """v5 rows: the whole script that runs the tests."""
    test_command: str = ""
    """What runs the tests when there is no script; empty: by repository and test files."""
    test_files: tuple[str, ...] = ()
    """Paths that the task's tests live in; empty: those that test_patch touches."""
    files: Mapping[str, str] | None = None
    """The whole repository inline, for tiny tasks; None: it lies in the image."""


def form_of(row: Mapping[str, Any]) -> Form:
    """Which data set a row comes from, told by its keys."""
    if "expected_output_json" in row:
        return "r2e-gym"
    if "fix_patch" in row:
        return "multi-swe"
    if str(row.get("repo", "")).startswith("swesmith/") or "swesmith" in str(row.get("image_name")):
        return "swe-smith"
    if row.get("repo") in _SWE_GYM_REPOSITORIES and not row.get("image"):
        return "swe-gym"
    return "swe-bench"


def task_of(row: Mapping[str, Any], form: Form | None = None) -> Task:
    """The task in `row`.

    Args:
        form: None tells it from the keys.

    Raises:
        DataError: a required key is missing or a test list is not a list of strings.
    """
    return _READERS[form or form_of(row)](row)


def read_tasks(path: str | Path, form: Form | None = None) -> tuple[Task, ...]:
    """All tasks of a `.json`, `.jsonl` or `.parquet` file, in its order.

    Raises:
        DataError: as `task_of`, with the file and the number of the row; or an id occurs twice.
    """
    tasks: dict[str, Task] = {}
    for number, row in enumerate(read_rows(path), start=1):
        try:
            task = task_of(row, form)
        except DataError as error:
            raise DataError(f"{path}, row {number}: {error}") from error
        if task.instance_id in tasks:
            raise DataError(f"{path}, row {number}: {task.instance_id!r} occurs twice")
        tasks[task.instance_id] = task
    return tuple(tasks.values())


def read_rows(path: str | Path) -> Iterable[Mapping[str, Any]]:
    """The rows of a file; a JSON object of objects gives its values.

    Raises:
        DataError: no such file, or it is not in the form that its name says.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"no such file: {file}")
    if file.suffix == ".parquet":
        return _parquet_rows(file)
    text = file.read_text(encoding="utf-8")
    try:
        if file.suffix == ".jsonl":
            rows: Any = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{file} is not valid JSON: {error}") from error
    if isinstance(rows, dict):
        rows = [rows] if "instance_id" in rows else list(rows.values())
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{file} must hold a list of objects")
    return rows


def _parquet_rows(file: Path) -> Iterable[Mapping[str, Any]]:
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise DataError(f"{file}: reading parquet needs pyarrow: pip install pyarrow") from error
    rows: list[Mapping[str, Any]] = parquet.read_table(file).to_pylist()
    return rows


def _need(row: Mapping[str, Any], key: str) -> Any:
    if key not in row:
        raise DataError(f"the row has no {key!r}.{closest(key, row)} It has: {', '.join(row)}")
    return row[key]


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    return "" if value is None else str(value)


def _ids(row: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A list of ids, written as a list or as JSON text of one."""
    value = _need(row, key)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise DataError(f"{key} is text but no JSON list: {value!r:.60}") from error
    if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
        raise DataError(f"{key} must be a list of test ids, got {value!r:.60}")
    return tuple(value)


def _bench(row: Mapping[str, Any], image: str = "", form: Form = "swe-bench") -> Task:
    instance = str(_need(row, "instance_id"))
    mapped = instance.lower().replace("__", "_1776_")
    return Task(
        instance_id=instance,
        repo=str(_need(row, "repo")),
        form=form,
        base_commit=_text(row, "base_commit"),
        problem_statement=_text(row, "problem_statement"),
        hints=_text(row, "hints_text"),
        version=_text(row, "version"),
        gold_patch=_text(row, "patch"),
        test_patch=_text(row, "test_patch"),
        expected=Expected(
            fail_to_pass=_ids(row, "FAIL_TO_PASS"), pass_to_pass=_ids(row, "PASS_TO_PASS")
        ),
        absent="pass" if row.get("eval_type") == "fail_only" else "fail",
        image=_text(row, "image") or image or f"swebench/sweb.eval.x86_64.{mapped}:latest",
        workdir=_text(row, "workdir") or "/testbed",
        parser=_text(row, "log_parser"),
        eval_script=_text(row, "eval_script"),
        test_command=_text(row, "test_command"),
        test_files=tuple(row.get("test_files") or ()),
        files=row.get("files"),
    )


def _gym(row: Mapping[str, Any]) -> Task:
    name = str(_need(row, "instance_id")).lower().replace("__", "_s_")
    return _bench(row, image=f"xingyaoww/sweb.eval.x86_64.{name}:latest", form="swe-gym")


def _smith(row: Mapping[str, Any]) -> Task:
    return Task(
        instance_id=str(_need(row, "instance_id")),
        repo=str(_need(row, "repo")),
        form="swe-smith",
        base_commit=_text(row, "base_commit"),
        problem_statement=_text(row, "problem_statement"),
        bug_patch=str(_need(row, "patch")),
        expected=Expected(
            fail_to_pass=_ids(row, "FAIL_TO_PASS"), pass_to_pass=_ids(row, "PASS_TO_PASS")
        ),
        absent="pass",
        image=str(_need(row, "image_name")),
        test_command=_text(row, "test_command"),
        files=row.get("files"),
    )


def _r2e(row: Mapping[str, Any]) -> Task:
    raw = _need(row, "expected_output_json")
    try:
        table = json.loads(raw) if isinstance(raw, str) else dict(raw)
        statuses = {str(test): Status(str(status)) for test, status in table.items()}
    except ValueError as error:
        raise DataError(f"expected_output_json is no map of test to status: {error}") from error
    repo, commit = str(_need(row, "repo_name")), str(_need(row, "commit_hash"))
    return Task(
        instance_id=_text(row, "instance_id") or f"{repo}__{commit}",
        repo=repo,
        form="r2e-gym",
        base_commit=commit,
        problem_statement=_text(row, "problem_statement"),
        expected=Expected(fail_to_pass=tuple(t for t, s in statuses.items() if s.passes)),
        expected_map=statuses,
        image=str(_need(row, "docker_image")),
        test_command="bash /run_tests.sh",
    )


def _multi(row: Mapping[str, Any]) -> Task:
    org, repo, number = (str(_need(row, key)) for key in ("org", "repo", "number"))
    base = row.get("base")
    issues = [i for i in row.get("resolved_issues") or () if isinstance(i, Mapping)]
    fixed = [test for key in ("f2p_tests", "s2p_tests", "n2p_tests") for test in row.get(key) or {}]
    return Task(
        instance_id=_text(row, "instance_id") or f"{org}__{repo}-{number}",
        repo=f"{org}/{repo}",
        form="multi-swe",
        base_commit=str(base.get("sha", "")) if isinstance(base, Mapping) else "",
        problem_statement="\n\n".join(f"{i.get('title', '')}\n{i.get('body', '')}" for i in issues)
        or f"{_text(row, 'title')}\n{_text(row, 'body')}".strip(),
        gold_patch=str(_need(row, "fix_patch")),
        test_patch=_text(row, "test_patch"),
        expected=Expected(
            fail_to_pass=tuple(fixed), pass_to_pass=tuple(row.get("p2p_tests") or {})
        ),
        image=f"mswebench/{org}_m_{repo}:pr-{number}".lower(),
        workdir=f"/home/{repo}",
        parser="any",
        # The images also hold fix-run.sh, which applies the reference fix that lies beside it.
        test_command="bash /home/run.sh",
    )


_READERS = {
    "swe-bench": _bench,
    "swe-smith": _smith,
    "swe-gym": _gym,
    "r2e-gym": _r2e,
    "multi-swe": _multi,
}
