"""The shell command that runs a task's tests, for rows that bring no script of their own."""

import shlex

from turngym.envs.swe.parsers.table import END, START
from turngym.envs.swe.patches import files_of
from turngym.envs.swe.tasks import Task

__all__ = ["ACTIVATE", "EXIT", "files_to_test", "script_for"]

EXIT = ">>>>> Test Exit Code: "
ACTIVATE = (
    "if [ -f /opt/miniconda3/bin/activate ]; then . /opt/miniconda3/bin/activate; "
    "conda activate testbed; fi"
)
"""SWE-bench images keep the project's Python in a conda environment."""

_PYTEST = "python -m pytest -rA -p no:cacheprovider"
_COMMANDS = {
    "django/django": "./tests/runtests.py --verbosity 2 --settings=test_sqlite --parallel 1",
    "sympy/sympy": "bin/test -C --verbose",
    "sphinx-doc/sphinx": "tox --current-env -epy39 -v --",
    "astropy/astropy": f"{_PYTEST} -vv -o console_output_style=classic --tb=no",
    "mwaskom/seaborn": f"{_PYTEST} --no-header",
}


def files_to_test(task: Task) -> tuple[str, ...]:
    """Files of the task's tests: those stated, else those of test_patch, else those of the ids."""
    if task.test_files:
        return task.test_files
    touched = tuple(p for p in files_of(task.test_patch) if p.endswith((".py", ".go", ".rs")))
    if touched:
        return touched
    named = (*task.expected.fail_to_pass, *task.expected.pass_to_pass)
    return tuple(dict.fromkeys(test.split("::")[0] for test in named if "::" in test))


def script_for(task: Task) -> str:
    """A bash script that prints the test log between the markers, and the exit code after them."""
    if task.eval_script:
        body = task.eval_script
    else:
        command = task.test_command or _COMMANDS.get(task.repo, _PYTEST)
        files = [
            _django_label(f) if task.repo == "django/django" else f for f in files_to_test(task)
        ]
        if task.form in ("r2e-gym", "multi-swe"):
            files = []  # their scripts know what to run
        body = f"{ACTIVATE}\n{command} {' '.join(shlex.quote(file) for file in files)}"
    # A script that prints the markers itself only nests them.
    return f"echo '{START}'\n(\n{body}\n)\ncode=$?\necho\necho '{END}'\necho '{EXIT}'$code\nexit $code\n"


def _django_label(path: str) -> str:
    return path.removeprefix("tests/").removesuffix(".py").replace("/", ".")
