"""Logs of Django's runner: `test_x (module.Class) ... ok`, or the docstring on a second line.

Data sets name a test by the text before ` ... `, which is the docstring where there is one. Both
names are recorded. Other output may stand between `...` and the verdict, and then the verdict
stands alone on a later line.
"""

import re

from turngym.envs.swe.parsers.status import Results, Status, record

__all__ = ["parse_django"]

_HEAD = re.compile(r"^(\w+ \([\w.<>]+\))")
_VERDICT = re.compile(r"^(ok|OK|FAIL|ERROR|skipped\b.*|expected failure|unexpected success)\s*$")
_REPORT = re.compile(r"^(FAIL|ERROR): (\w+ \([\w.<>]+\))")
_STATUS = {
    "ok": Status.PASSED,
    "OK": Status.PASSED,
    "FAIL": Status.FAILED,
    "ERROR": Status.ERROR,
    "skipped": Status.SKIPPED,
    "expected": Status.XFAIL,
    "unexpected": Status.FAILED,
}
_GLUED = re.compile(r"^(?P<name>.+?) \.\.\. .*?(?P<verdict>ok|FAIL|ERROR)$")


def parse_django(log: str) -> Results:
    """Results of Django's (and any verbose unittest) run."""
    results: dict[str, Status] = {}
    open_names: list[str] = []  # of the test whose verdict has not been printed yet
    for line in log.splitlines():
        if report := _REPORT.match(line):
            record(results, report[2], Status.FAILED if report[1] == "FAIL" else Status.ERROR)
            open_names = []
        elif " ... " in f"{line} ":
            open_names = _dotted(line, open_names, results)
        elif open_names and _VERDICT.match(line.strip()):
            _close(results, open_names, line.strip())
            open_names = []
        elif head := _HEAD.match(line):
            open_names = [head[1]]
    return results


def _dotted(line: str, before: list[str], results: dict[str, Status]) -> list[str]:
    """Handle a `name ... verdict` line; gives back the names that still wait for a verdict."""
    name, _, rest = f"{line} ".partition(" ... ")
    name, rest = name.strip(), rest.strip()
    head = _HEAD.match(name)
    names = [name] if head else [name, *before[:1]]
    if _VERDICT.match(rest):
        _close(results, names, rest)
        return []
    if not rest or head:
        if glued := _GLUED.match(line.rstrip()):
            _close(results, names, glued["verdict"])
            return []
        return names
    return before


def _close(results: dict[str, Status], names: list[str], verdict: str) -> None:
    for name in names:
        record(results, name, _STATUS[verdict.split()[0]])
