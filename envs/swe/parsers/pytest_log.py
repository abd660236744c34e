"""Logs of pytest: the `-rA` summary (`PASSED path::test`) and the verbose form (`path::test PASSED`).

Ids are kept whole, spaces in parameters included; `turngym.envs.swe.grading` matches the ids that
data sets cut at the first space.
"""

import re

from turngym.envs.swe.parsers.status import Results, Status, record

__all__ = [
    "parse_matplotlib",
    "parse_pytest",
    "parse_pytest_options",
    "parse_pytest_v2",
    "parse_seaborn",
]

_STATUS = "|".join(Status)
_SUMMARY = re.compile(rf"^({_STATUS}) +(\S.*?)\s*$")
_VERBOSE = re.compile(rf"^(\S.*?::.*?) +({_STATUS})(?: +\[ *\d+%\])?(?: +\(.*\))?\s*$")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_CONTROL = dict.fromkeys(range(1, 32))
_PARAMETERS = re.compile(r"^(.*?)\[(.*)\]$")


def parse_pytest(log: str) -> Results:
    """Results of plain pytest."""
    results: dict[str, Status] = {}
    for line in log.splitlines():
        if found := _SUMMARY.match(line):
            status = Status(found[1])
            if status.passes or not found[2].startswith("["):
                record(results, _without_message(found[2], status), status)
        elif found := _VERBOSE.match(line):
            record(results, found[1], Status(found[2]))
    return results


def parse_pytest_options(log: str) -> Results:
    """Results where a parameter is an absolute path: only the last part of the path is kept."""
    results: dict[str, Status] = {}
    for test, status in parse_pytest(log).items():
        record(results, _short_path(test), status)
    return results


def parse_pytest_v2(log: str) -> Results:
    """Results of pytest that prints colours."""
    plain = "\n".join(
        line.translate(_CONTROL) for line in _COLOUR.sub("", log).replace("\r", "").split("\n")
    )
    return parse_pytest(plain)


def parse_seaborn(log: str) -> Results:
    """Results of seaborn's suite, which uses both forms."""
    return parse_pytest(log)


def parse_matplotlib(log: str) -> Results:
    """Results of matplotlib's suite, where the ids of mouse buttons depend on the Python version."""
    return parse_pytest(log.replace("MouseButton.LEFT", "1").replace("MouseButton.RIGHT", "3"))


def _without_message(text: str, status: Status) -> str:
    """The id in `id - message`.

    Text that begins with `[` is no id but a count or a progress mark, as in `PASSED [100%]`.
    SWE-bench took the passing ones for ids, and a few PASS_TO_PASS lists hold them.
    """
    if status in (Status.PASSED, Status.SKIPPED):
        return text
    head = text.partition(" - ")[0]
    if "[" in head and "] - " in text and not head.endswith("]"):
        return text.partition("] - ")[0] + "]"
    return head


def _short_path(test: str) -> str:
    found = _PARAMETERS.match(test)
    if found is None:
        return test
    main, option = found[1], found[2]
    if option.startswith("/") and not option.startswith("//") and "*" not in option:
        option = "/" + option.rsplit("/", 1)[-1]
    return f"{main}[{option}]"
