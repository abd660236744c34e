"""The form in which bundled tasks are written down."""

import os
import re
from dataclasses import dataclass

from turngym.envs.swe.difference import diff_of
from turngym.envs.swe.grading import Expected
from turngym.envs.swe.tasks import Task

__all__ = ["IMAGE", "Tiny", "image"]

IMAGE = "turngym/swe-base:bookworm"
"""What docker/make_base.sh makes."""


def image() -> str:
    """`IMAGE`, or what TURNGYM_BASE_IMAGE names."""
    return os.environ.get("TURNGYM_BASE_IMAGE", IMAGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiny:
    """One module with one bug: `source` is right, and `bug` stands in place of `right` in it."""

    name: str
    issue: str
    source: str
    right: str
    bug: str
    kept: str
    """Tests that the repository shows; they pass with the bug."""
    fixed: str
    """Hidden tests; they fail with the bug."""

    def task(self) -> Task:
        """The task, with its repository inline."""
        if self.source.count(self.right) != 1:
            raise ValueError(f"{self.name}: {self.right!r} must occur once in the source")
        broken = self.source.replace(self.right, self.bug)
        head = f"from {self.name} import *\nimport pytest\n\n\n"
        shown = head + self.kept
        hidden = f"{shown}\n\n{self.fixed}"
        tests = f"tests/test_{self.name}.py"
        return Task(
            instance_id=f"turngym__{self.name}-1",
            repo=f"turngym/{self.name}",
            problem_statement=self.issue,
            gold_patch=diff_of(f"{self.name}.py", broken, self.source),
            test_patch=diff_of(tests, shown, hidden),
            expected=Expected(
                fail_to_pass=_ids(tests, self.fixed), pass_to_pass=_ids(tests, self.kept)
            ),
            image=image(),
            test_files=(tests,),
            files={f"{self.name}.py": broken, tests: shown},
        )


def _ids(path: str, tests: str) -> tuple[str, ...]:
    return tuple(f"{path}::{name}" for name in re.findall(r"^def (test_\w+)", tests, re.M))
