"""From test results to a verdict: SWE-bench's rules.

A test passes as PASSED or XFAIL. FAIL_TO_PASS ids must pass; PASS_TO_PASS ids must pass or be
skipped. FULL: all of both. PARTIAL: some of the first, all of the second.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from turngym.envs.swe.parsers.status import Results, Status, worst

__all__ = ["Absent", "Expected", "Grade", "Resolution", "grade", "status_of"]

Absent = Literal["fail", "pass"]
"""What an id that the log does not name means. SWE-bench: fail. SWE-smith and fail-only: pass."""


class Resolution(StrEnum):
    """SWE-bench's three verdicts."""

    FULL = "RESOLVED_FULL"
    PARTIAL = "RESOLVED_PARTIAL"
    NO = "RESOLVED_NO"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The ids that a task is graded by."""

    fail_to_pass: tuple[str, ...]
    pass_to_pass: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """The expected ids, split by what the log says of them, in the task's order."""

    fixed: tuple[str, ...]
    """FAIL_TO_PASS ids that pass."""
    not_fixed: tuple[str, ...]
    kept: tuple[str, ...]
    """PASS_TO_PASS ids that pass or are skipped."""
    broken: tuple[str, ...]

    @property
    def resolution(self) -> Resolution:
        """FULL, PARTIAL or NO."""
        if self.broken or (self.not_fixed and not self.fixed):
            return Resolution.NO
        return Resolution.PARTIAL if self.not_fixed else Resolution.FULL

    @property
    def resolved(self) -> bool:
        """Whether the verdict is FULL."""
        return self.resolution is Resolution.FULL


def grade(results: Results, expected: Expected, *, absent: Absent = "fail") -> Grade:
    """Split the expected ids by `results`.

    Args:
        absent: "fail" as SWE-bench does, "pass" as SWE-smith does.
    """
    by_first_word = _by_first_word(results)

    def passes(test: str, skipped: bool) -> bool:
        status = status_of(test, results, by_first_word)
        if status is None:
            return absent == "pass"
        return status.passes or (skipped and status is Status.SKIPPED)

    fixed = [test for test in expected.fail_to_pass if passes(test, False)]
    kept = [test for test in expected.pass_to_pass if passes(test, True)]
    return Grade(
        fixed=tuple(fixed),
        not_fixed=tuple(test for test in expected.fail_to_pass if test not in set(fixed)),
        kept=tuple(kept),
        broken=tuple(test for test in expected.pass_to_pass if test not in set(kept)),
    )


def status_of(
    test: str, results: Results, by_first_word: dict[str, list[Status]] | None = None
) -> Status | None:
    """The status of an id, None where the log does not name it.

    About one id in eight of SWE-bench is cut at its first space. Such an id stands for all tests
    that begin with it up to a space, and the worst of their statuses counts.
    """
    if test in results:
        return results[test]
    if by_first_word is None:
        by_first_word = _by_first_word(results)
    statuses = by_first_word.get(test)
    return worst(statuses) if statuses else None


def _by_first_word(results: Results) -> dict[str, list[Status]]:
    table: dict[str, list[Status]] = {}
    for test, status in results.items():
        first, space, _ = test.partition(" ")
        if space:
            table.setdefault(first, []).append(status)
    return table
