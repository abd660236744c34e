"""Logs of sympy's own runner: `test_x ok`, and a rule with `file.py:test_x` for each failure."""

import re

from turngym.envs.swe.parsers.status import Results, Status, record

__all__ = ["parse_sympy"]

_LINE = re.compile(r"^(test_\w+) (ok|[FEfsKT])\s*(?:\[(?:OK|FAIL)\])?\s*$")
_RULE = re.compile(r"^_+ (\S+\.py:\w+) _+$")
_STATUS = {
    "ok": Status.PASSED,
    "F": Status.FAILED,
    "E": Status.ERROR,
    "f": Status.XFAIL,
    "s": Status.SKIPPED,
    "K": Status.ERROR,
    "T": Status.FAILED,
}


def parse_sympy(log: str) -> Results:
    """Results by function name, failures also by `file.py:name`."""
    results: dict[str, Status] = {}
    for line in log.splitlines():
        if found := _LINE.match(line.strip()):
            record(results, found[1], _STATUS[found[2]])
        elif found := _RULE.match(line.strip()):
            record(results, found[1], Status.FAILED)
    return results
