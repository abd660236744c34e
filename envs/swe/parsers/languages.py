"""Logs of suites in other languages, for Multi-SWE-bench: cargo, Maven, mocha and jest, CTest.

Ids are the names that the suite prints: Rust paths, Java classes, titles, CTest names.
"""

import re

from turngym.envs.swe.parsers.go_log import parse_go
from turngym.envs.swe.parsers.pytest_log import parse_pytest
from turngym.envs.swe.parsers.status import Parser, Results, Status, record

__all__ = ["parse_any", "parse_cargo", "parse_ctest", "parse_javascript", "parse_maven"]

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_CARGO = re.compile(r"^test (.+?)(?: - should panic)? \.\.\. (ok|FAILED|ignored)\b", re.MULTILINE)
_CARGO_STATUS = {"ok": Status.PASSED, "FAILED": Status.FAILED, "ignored": Status.SKIPPED}
_MAVEN = re.compile(
    r"Tests run: (\d+), Failures: (\d+), Errors: (\d+), Skipped: (\d+),? Time elapsed: .*?"
    r"(?:-- in|- in|--- in) (\S+)"
)
_CTEST = re.compile(
    r"^\s*\d+/\d+ Test\s+#\d+: (\S+) \.*\s*(\*\*\*)?(Passed|Failed|Timeout|Skipped|Not Run"
    r"(?: \(Disabled\))?|Exception|SEGFAULT)",
    re.MULTILINE,
)
_TITLE = re.compile(r"^\s*(✔|✓|✕|×|○|-|\d+\)) (.+?)(?: \(\d+(?:\.\d+)? ?m?s\))?$")
_SUITE = re.compile(r"^(PASS|FAIL) +(\S+\.[cm]?[jt]sx?)")
_SUMMARY = re.compile(r"^\s*\d+ (?:passing|failing)\b")


def parse_cargo(log: str) -> Results:
    """`cargo test`: `test path::name ... ok`."""
    results: dict[str, Status] = {}
    for name, word in _CARGO.findall(_ANSI.sub("", log)):
        record(results, name, _CARGO_STATUS[word])
    return results


def parse_maven(log: str) -> Results:
    """Surefire, one line a class: `Tests run: 3, Failures: 0, ... -- in com.example.FooTest`."""
    results: dict[str, Status] = {}
    for run, failures, errors, skipped, name in _MAVEN.findall(_ANSI.sub("", log)):
        if int(failures) or int(errors):
            status = Status.FAILED
        else:
            status = Status.SKIPPED if run == skipped else Status.PASSED
        record(results, name, status)
    return results


def parse_ctest(log: str) -> Results:
    """CTest: `1/2 Test #1: name .... Passed`; what could not run failed, what is disabled is skipped."""
    results: dict[str, Status] = {}
    for name, _, word in _CTEST.findall(log):
        if word == "Passed":
            status = Status.PASSED
        elif word in ("Skipped", "Not Run (Disabled)"):
            status = Status.SKIPPED
        else:
            status = Status.FAILED
        record(results, name, status)
    return results


def parse_javascript(log: str) -> Results:
    """mocha's and jest's lines by title, and jest's files; the summary repeats them and is left out."""
    results: dict[str, Status] = {}
    for line in _ANSI.sub("", log).splitlines():
        if _SUMMARY.match(line):
            break
        if suite := _SUITE.match(line):
            record(results, suite[2], Status.PASSED if suite[1] == "PASS" else Status.FAILED)
        elif title := _TITLE.match(line):
            record(results, title[2], _status_of(title[1]))
    return results


def parse_any(log: str) -> Results:
    """By the parser that finds most, for rows that do not say what their suite is."""
    parsers: tuple[Parser, ...] = (
        parse_pytest,
        parse_go,
        parse_cargo,
        parse_maven,
        parse_ctest,
        parse_javascript,
    )
    return max((parse(log) for parse in parsers), key=len)


def _status_of(mark: str) -> Status:
    if mark in "✔✓":
        return Status.PASSED
    return Status.SKIPPED if mark in "-○" else Status.FAILED
