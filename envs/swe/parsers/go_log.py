"""Logs of `go test -v`: `--- PASS: TestName (0.00s)`, subtests indented."""

import re

from turngym.envs.swe.parsers.status import Results, Status, record

__all__ = ["parse_go"]

_LINE = re.compile(r"--- (PASS|FAIL|SKIP): (.+?) \(\d+\.\d+s\)\s*$")
_STATUS = {"PASS": Status.PASSED, "FAIL": Status.FAILED, "SKIP": Status.SKIPPED}


def parse_go(log: str) -> Results:
    """Results by test name."""
    results: dict[str, Status] = {}
    for line in log.splitlines():
        # A test may have printed something without a newline before the verdict.
        if found := _LINE.search(line):
            record(results, found[2], _STATUS[found[1]])
    return results
