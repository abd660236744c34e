"""What evaluating one answer found, and the reports in SWE-bench's schema version 2."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from turngym.envs.swe.grading import Grade

__all__ = ["SCHEMA_VERSION", "InstanceResult", "Verdict", "instance_report", "run_report"]

SCHEMA_VERSION = 2


class Verdict(StrEnum):
    """How one answer ended."""

    RESOLVED = "resolved"
    """Both graders say so (or the one that applies)."""
    UNRESOLVED = "unresolved"
    SUSPICIOUS = "suspicious"
    """The graders disagree, or the answer touched what it may not; never counts as resolved."""
    EMPTY_PATCH = "empty_patch"
    PATCH_REFUSED = "patch_refused"
    """No method applies the patch, or it leaves the repository."""
    TIMEOUT = "timeout"
    """The tests ran out of time."""
    AMBIGUOUS = "ambiguous"
    """The log shows no sign that the suite ran, or repeated runs differ."""
    INFRA_FAILURE = "infra_failure"
    """The sandbox broke: says nothing about the answer."""

    @property
    def graded(self) -> bool:
        """Whether the answer was tested to the end."""
        return self in (Verdict.RESOLVED, Verdict.UNRESOLVED, Verdict.SUSPICIOUS)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceResult:
    """The verdict on one answer with everything that led to it."""

    instance_id: str
    model: str
    verdict: Verdict
    patch_exists: bool = True
    applied: bool = False
    apply_method: str = ""
    log_grade: Grade | None = None
    sealed_grade: Grade | None = None
    """None where the sealed grader does not apply or did not run."""
    reason: str = ""
    evidence: tuple[str, ...] = ()
    """What made a verdict suspicious or ambiguous."""
    log: str = field(default="", repr=False)
    seconds: float = 0.0
    test_seconds: float = 0.0


def instance_report(result: InstanceResult) -> dict[str, Any]:
    """SWE-bench's `report.json` of one instance, with our own keys beside theirs."""
    body: dict[str, Any] = {
        "patch_is_None": not result.patch_exists,
        "patch_exists": result.patch_exists,
        "patch_successfully_applied": result.applied,
        "resolved": result.verdict is Verdict.RESOLVED,
        "infra_failure": result.verdict is Verdict.INFRA_FAILURE,
        "verdict": result.verdict.value,
    }
    if result.verdict is Verdict.INFRA_FAILURE:
        body["infra_failure_reason"] = result.reason
    elif result.reason:
        body["reason"] = result.reason
    if result.apply_method:
        body["apply_method"] = result.apply_method
    if result.evidence:
        body["evidence"] = list(result.evidence)
    if result.log_grade is not None:
        body["tests_status"] = _tests_status(result.log_grade)
    if result.sealed_grade is not None:
        body["sealed_tests_status"] = _tests_status(result.sealed_grade)
    body["seconds"] = {"total": round(result.seconds, 3), "tests": round(result.test_seconds, 3)}
    return {result.instance_id: body}


def run_report(
    reports: Mapping[str, Mapping[str, Any]], dataset_ids: Iterable[str]
) -> dict[str, Any]:
    """The report of a run from its instance reports: counts, ids and reasons.

    Args:
        reports: the body of each submitted instance's report.
        dataset_ids: every task of the data set, answered or not.
    """
    ids: dict[str, list[str]] = {verdict.value: [] for verdict in Verdict}
    for instance, body in reports.items():
        ids[Verdict(body["verdict"]).value].append(instance)
    completed = [i for i, body in reports.items() if Verdict(body["verdict"]).graded]
    every = sorted(set(dataset_ids) | set(reports))
    named = {
        "completed": completed,
        "resolved": ids["resolved"],
        # SWE-bench knows no suspicion; what is not accepted is unresolved to its readers.
        "unresolved": ids["unresolved"] + ids["suspicious"],
        "infra_failure": ids["infra_failure"],
        "ambiguous_failure": ids["ambiguous"],
        "empty_patch": ids["empty_patch"],
        "error": ids["patch_refused"] + ids["timeout"],
        "suspicious": ids["suspicious"],
        "timeout": ids["timeout"],
        "submitted": list(reports),
        "incomplete": [i for i in every if i not in reports],
    }
    report: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "total_instances": len(every)}
    report |= {f"{name}_instances": len(found) for name, found in named.items()}
    report |= {f"{name}_ids": sorted(found) for name, found in named.items()}
    report["failure_reasons"] = {
        instance: body.get("infra_failure_reason") or body.get("reason") or body["verdict"]
        for instance, body in sorted(reports.items())
        if not Verdict(body["verdict"]).graded and body["verdict"] != Verdict.EMPTY_PATCH
    }
    return report


def _tests_status(grade: Grade) -> dict[str, dict[str, list[str]]]:
    return {
        "FAIL_TO_PASS": {"success": list(grade.fixed), "failure": list(grade.not_fixed)},
        "PASS_TO_PASS": {"success": list(grade.kept), "failure": list(grade.broken)},
        "FAIL_TO_FAIL": {"success": [], "failure": []},
        "PASS_TO_FAIL": {"success": [], "failure": []},
    }
