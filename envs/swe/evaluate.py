"""Evaluate one answer: a fresh container, the patch, then the tests, then two graders.

Order: patch refused or applied; test files put back to what the task says; sealed run; tree put
back; log run. `resolved` needs both graders; where they disagree the answer is `suspicious`.
"""

import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

from turngym.envs.sandbox import Limits, SandboxSpec, Snapshot
from turngym.envs.sandbox.archive import contents, pack
from turngym.envs.sandbox.docker_sandbox import DockerSandbox, image_seed
from turngym.envs.sandbox.images import Images
from turngym.envs.swe.commands import EXIT, files_to_test, script_for
from turngym.envs.swe.grading import Grade, grade
from turngym.envs.swe.parsers import Results, Status, parser_of, region
from turngym.envs.swe.patches import apply_patch, fault_of, files_of
from turngym.envs.swe.predictions import Prediction
from turngym.envs.swe.scrub import scrub
from turngym.envs.swe.sealed import SealedResult, is_test_support, run_sealed, seals
from turngym.envs.swe.tasks import Task
from turngym.envs.swe.verdict import InstanceResult, Verdict
from turngym.errors import InfraFailure, InfraTimeout, NotTheAgentsFault

__all__ = ["EvalSettings", "evaluate", "judge", "spec_of"]

_NOT_EVALUATED = (">>>>> Reset Failed", ">>>>> Tests Timed Out")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSettings:
    """How answers are evaluated."""

    timeout_s: float = 1800.0
    """For all tests of one answer, per grader."""
    limits: Limits = Limits(memory_mb=4096, cpus=2.0, pids=512, disk_mb=1024)
    sealed: bool = True
    """False grades by the log alone, as SWE-bench does; such verdicts can be fooled."""
    images: Images | None = None
    """Pulls images that are missing and removes others; None uses what is there."""


def evaluate(
    task: Task,
    prediction: Prediction,
    settings: EvalSettings | None = None,
    seed: Snapshot | None = None,
) -> InstanceResult:
    """The verdict on one answer; infra failures become a verdict too, never an exception.

    Args:
        seed: the repository at its base commit; None takes the image's working directory.
    """
    settings, began = settings or EvalSettings(), time.monotonic()
    if prediction.empty:
        return _result(task, prediction, Verdict.EMPTY_PATCH, began, patch_exists=False)
    patch = prediction.patch or ""
    if fault := fault_of(patch):
        return _result(task, prediction, Verdict.PATCH_REFUSED, began, reason=fault)
    try:
        with settings.images.use(task.image) if settings.images else nullcontext():
            return _evaluate(task, prediction, patch, settings, seed, began)
    except InfraTimeout as error:
        return _result(task, prediction, Verdict.INFRA_FAILURE, began, reason=f"time-out: {error}")
    except NotTheAgentsFault as error:
        return _result(task, prediction, Verdict.INFRA_FAILURE, began, reason=str(error))


def spec_of(task: Task, limits: Limits) -> SandboxSpec:
    """The sandbox that a task needs.

    Small trees fit on tmpfs; the images of the data sets are large, and their files belong to root.
    """
    own = task.form == "swe-bench" and not task.image.startswith("swebench/")
    small = own or task.files is not None
    return SandboxSpec(
        image=task.image,
        workdir=task.workdir,
        user="1000:1000" if small else "0:0",
        disk="tmpfs" if small else "quota",
        limits=limits,
    )


def _evaluate(
    task: Task,
    prediction: Prediction,
    patch: str,
    settings: EvalSettings,
    seed: Snapshot | None,
    began: float,
) -> InstanceResult:
    spec = spec_of(task, settings.limits)
    if seed is None and task.files is not None:
        inline = pack({path: text.encode() for path, text in task.files.items()})
        seed = Snapshot(image=task.image, workdir=task.workdir, archive=inline)
    if seed is None and spec.disk == "tmpfs":
        seed = image_seed(spec)
    with DockerSandbox(spec, seed) as box:
        base = _prepare(box, task, seed)
        applied = apply_patch(box, patch, reverse=prediction.reverse)
        if not applied.method:
            reason = f"no method applies the patch: {applied.output[-800:]}"
            return _result(task, prediction, Verdict.PATCH_REFUSED, began, reason=reason)
        support = _put_tests_back(box, task, base)
        tree = box.snapshot()
        sealed = None
        if settings.sealed and seals(task):
            sealed = run_sealed(box, task, support, settings.timeout_s)
            box.restore(tree)
        ran = box.exec_as(["bash", "-c", script_for(task)], spec.user, settings.timeout_s)
    verdict = judge(task, ran.text, ran.exit_code, ran.timed_out, sealed)
    return InstanceResult(
        instance_id=task.instance_id,
        model=prediction.model,
        verdict=verdict.verdict,
        applied=True,
        apply_method=applied.method,
        log_grade=verdict.log_grade,
        sealed_grade=sealed.grade if sealed else None,
        reason=verdict.reason,
        evidence=verdict.evidence,
        log=ran.text,
        seconds=time.monotonic() - began,
        test_seconds=ran.seconds + (sealed.seconds if sealed else 0.0),
    )


def _prepare(box: DockerSandbox, task: Task, seed: Snapshot | None) -> Snapshot:
    """Bring the container to the state in which the agent began."""
    if task.files is None:
        scrub(box)  # code under test could look for the fix, too
    if task.bug_patch and not apply_patch(box, task.bug_patch).method:
        raise InfraFailure(f"the bug of {task.instance_id} does not apply to {task.image}")
    return box.snapshot() if seed is None or task.bug_patch else seed


def _put_tests_back(box: DockerSandbox, task: Task, base: Snapshot) -> Mapping[str, bytes]:
    """Undo what the answer did to the task's tests, add test_patch; gives the support files.

    Test files of the task, what lies in their folders, and every conftest.py that the base has, get
    their base content: helpers that tests import decide results as much as the tests do.
    """
    before = contents(base.archive, is_test_support)
    protected = {*files_to_test(task), *files_of(task.test_patch)}
    folders = {path.rpartition("/")[0] for path in protected if is_test_support(path)} - {""}
    protected |= {
        path
        for path in before
        if path.endswith("conftest.py") or any(path.startswith(f"{f}/") for f in folders)
    }
    changed = _differing(box, before, protected)
    if changed:
        box.exec("rm -rf -- " + " ".join(_quoted(path) for path in changed))
    for path in changed:
        if path in before:
            box.write(path, before[path])
    support = dict(before)
    if task.test_patch:
        if not apply_patch(box, task.test_patch).method:
            raise InfraFailure(f"the test patch of {task.instance_id} does not apply")
        for path in files_of(task.test_patch):
            try:
                support[path] = box.read(path)
            except FileNotFoundError:
                support.pop(path, None)
    return {path: data for path, data in support.items() if is_test_support(path)}


def _differing(
    box: DockerSandbox, before: Mapping[str, bytes], protected: Iterable[str]
) -> list[str]:
    """Protected paths that are not the regular files that the base has."""
    now = contents(box.snapshot().archive, lambda path: path in before)
    return [path for path in sorted(protected) if path not in now or now[path] != before[path]]


def _quoted(path: str) -> str:
    return "'" + path.replace("'", "'\\''") + "'"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    verdict: Verdict
    log_grade: Grade | None = None
    reason: str = ""
    evidence: tuple[str, ...] = ()


def judge(
    task: Task, log: str, exit_code: int, timed_out: bool, sealed: SealedResult | None
) -> _Judged:
    """Both graders' findings as one verdict."""
    if timed_out or (sealed is not None and sealed.timed_out):
        return _Judged(verdict=Verdict.TIMEOUT, reason="the tests ran out of time")
    log_grade, invalid = _grade_log(task, log, exit_code)
    if sealed is None:
        if log_grade is None or invalid:
            return _Judged(verdict=Verdict.AMBIGUOUS, log_grade=log_grade, reason=invalid)
        verdict = Verdict.RESOLVED if log_grade.resolved else Verdict.UNRESOLVED
        return _Judged(verdict=verdict, log_grade=log_grade)
    by_log = log_grade is not None and log_grade.resolved and not invalid
    by_seal = sealed.grade is not None and sealed.grade.resolved
    evidence = list(sealed.evidence)
    if by_log and not by_seal:
        left = sealed.reason or _missing(sealed.grade)
        evidence.append(f"the log says resolved, the sealed run does not: {left}")
    if by_seal and not by_log:
        evidence.append(f"the sealed run says resolved, the log does not: {invalid or 'failures'}")
    if evidence:
        return _Judged(verdict=Verdict.SUSPICIOUS, log_grade=log_grade, evidence=tuple(evidence))
    verdict = Verdict.RESOLVED if by_log and by_seal else Verdict.UNRESOLVED
    return _Judged(verdict=verdict, log_grade=log_grade, reason=sealed.reason)


def _missing(found: Grade | None) -> str:
    return ", ".join((*found.not_fixed, *found.broken)[:5]) if found else "no grade"


def _grade_log(task: Task, log: str, exit_code: int) -> tuple[Grade | None, str]:
    """The grade by the log, and why it is not valid ('' when it is)."""
    for marker in _NOT_EVALUATED:
        if marker in log:
            return None, f"the log says {marker.removeprefix('>>>>> ')!r}"
    results = parser_of(task.repo, task.parser or None)(region(log))
    if not results:
        return None, "the log holds no test result"
    if task.expected_map is not None:
        found = _grade_map(results, task.expected_map)
    else:
        found = grade(results, task.expected, absent=task.absent)
    failed = any(not status.passes and status is not Status.SKIPPED for status in results.values())
    if exit_code != 0 and EXIT in log and not failed:
        return found, f"the suite exited with {exit_code} and the log shows no failure"
    return found, ""


def _grade_map(results: Results, expected: Mapping[str, Status]) -> Grade:
    """R2E-Gym: resolved exactly when the whole map is equal; ids are `Class.test` or functions."""
    short = {_short(test): status for test, status in results.items()}
    wanted = {_short(test): status for test, status in expected.items()}
    if len(short) != len(wanted):
        return Grade(fixed=(), not_fixed=tuple(wanted), kept=(), broken=())
    right = tuple(test for test, status in wanted.items() if short.get(test) is status)
    wrong = tuple(test for test in wanted if test not in set(right))
    return Grade(fixed=right, not_fixed=wrong, kept=(), broken=())


def _short(test: str) -> str:
    return ".".join(test.split("::")[1:]) if "::" in test else test


def _result(
    task: Task,
    prediction: Prediction,
    verdict: Verdict,
    began: float,
    *,
    reason: str = "",
    patch_exists: bool = True,
) -> InstanceResult:
    return InstanceResult(
        instance_id=task.instance_id,
        model=prediction.model,
        verdict=verdict,
        patch_exists=patch_exists,
        reason=reason,
        seconds=time.monotonic() - began,
    )
