"""The larger bundled tasks: one text per repository in `repositories/`.

A text has sections that begin with `=== KIND PATH`:

- `issue`: the problem statement;
- `file PATH`: a file; in it, what stands between `<<<<<<< bug` and `=======` is how the repository begins,
  and what follows up to `>>>>>>> fix` is the reference fix;
- `tests PATH`: tests that the repository shows, which pass with the bug and without;
- `hidden PATH`: tests to add to that file, all of which fail with the bug.
"""

import importlib.resources
import re
from collections.abc import Iterator

from turngym.envs.swe.bundled.seed import image
from turngym.envs.swe.difference import diff_of
from turngym.envs.swe.grading import Expected
from turngym.envs.swe.tasks import Task
from turngym.errors import DataError

__all__ = ["read_repositories", "task_from"]

_CHANGE = re.compile(r"^<{7} bug\n(.*?)^={7}\n(.*?)^>{7} fix\n", re.MULTILINE | re.DOTALL)
_SECTION = re.compile(r"^=== (issue|file|tests|hidden)(?: (\S+))?\n", re.MULTILINE)


def read_repositories() -> Iterator[Task]:
    """All tasks of the folder, by name."""
    folder = importlib.resources.files("turngym.envs.swe.bundled") / "repositories"
    for item in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if item.name.endswith(".txt"):
            yield task_from(item.name.removesuffix(".txt"), item.read_text(encoding="utf-8"))


def task_from(name: str, text: str) -> Task:
    """The task that a text describes.

    Raises:
        DataError: a section is missing, or nothing differs between bug and fix.
    """
    marks = list(_SECTION.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    sections = {
        (mark[1], mark[2] or ""): text[mark.end() : end]
        for mark, end in zip(marks, ends, strict=True)
    }
    bugged = {p: _CHANGE.sub(r"\1", body) for (kind, p), body in sections.items() if kind == "file"}
    fixed = {p: _CHANGE.sub(r"\2", body) for (kind, p), body in sections.items() if kind == "file"}
    shown = {p: body for (kind, p), body in sections.items() if kind == "tests"}
    hidden = {p: body for (kind, p), body in sections.items() if kind == "hidden"}
    if ("issue", "") not in sections or not shown or not hidden or bugged == fixed:
        raise DataError(f"{name}: a task has an issue, files with a bug, tests and hidden tests")
    whole = {path: f"{shown.get(path, '')}\n\n{body}".lstrip() for path, body in hidden.items()}
    return Task(
        instance_id=f"turngym__{name}-1",
        repo=f"turngym/{name}",
        problem_statement=sections["issue", ""].strip(),
        gold_patch="".join(
            diff_of(path, bugged[path], fixed[path])
            for path in bugged
            if bugged[path] != fixed[path]
        ),
        test_patch="".join(diff_of(path, shown.get(path), body) for path, body in whole.items()),
        expected=Expected(
            fail_to_pass=tuple(
                test for path, body in hidden.items() for test in _tests(path, body)
            ),
            pass_to_pass=tuple(test for path, body in shown.items() for test in _tests(path, body)),
        ),
        image=image(),
        test_files=tuple(dict.fromkeys((*shown, *hidden))),
        files={**bugged, **shown},
    )


def _tests(path: str, source: str) -> Iterator[str]:
    """Ids of the test functions of a text; bundled tests have no parameters."""
    yield from (f"{path}::{name}" for name in re.findall(r"^def (test_\w+)", source, re.MULTILINE))
