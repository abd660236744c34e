"""What one test did, as its log says it."""

from collections.abc import Callable, Mapping
from enum import StrEnum

__all__ = ["Parser", "Results", "Status", "record", "worst"]


class Status(StrEnum):
    """The five outcomes that SWE-bench knows."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    ERROR = "ERROR"
    XFAIL = "XFAIL"

    @property
    def passes(self) -> bool:
        """PASSED, or failed as the suite said it would."""
        return self in (Status.PASSED, Status.XFAIL)


Results = Mapping[str, Status]
"""Test id to status."""
Parser = Callable[[str], Results]

_FROM_WORST = (Status.ERROR, Status.FAILED, Status.SKIPPED, Status.XFAIL, Status.PASSED)


def worst(statuses: list[Status]) -> Status:
    """The least favourable of one or more statuses."""
    return min(statuses, key=_FROM_WORST.index)


def record(results: dict[str, Status], test: str, status: Status) -> None:
    """Note a status; a test named twice keeps the worse one.

    A test that passes and then breaks in its teardown is printed as both, and a module that prints
    lines that look like results must not be able to turn a failure into a pass.
    """
    results[test] = worst([status, results[test]]) if test in results else status
