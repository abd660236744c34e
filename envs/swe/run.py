"""Evaluate many answers: workers, resume, repeats, and SWE-bench's folder of logs and reports."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from turngym.envs.fleet.cluster import RayWorkers
from turngym.envs.fleet.jobs import fan_out
from turngym.envs.swe.bundled import bundled_tasks
from turngym.envs.swe.evaluate import EvalSettings, evaluate
from turngym.envs.swe.predictions import Prediction
from turngym.envs.swe.tasks import Form, Task, read_tasks, task_of
from turngym.envs.swe.verdict import InstanceResult, Verdict, instance_report, run_report
from turngym.errors import ConfigError, DataError, closest

__all__ = [
    "RunSettings",
    "folder_of",
    "load_tasks",
    "read_reports",
    "run_evaluation",
    "summarise",
    "write_report",
    "write_run_report",
]

Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """How a run is carried out."""

    out: Path
    run_id: str = "run"
    workers: int | RayWorkers = 1
    """Answers at a time: threads of this process, or workers of a cluster whose nodes have Docker."""
    resume: bool = False
    """Keep verdicts that a former run of the same id wrote; infra failures are tried again."""
    repeat: int = 1
    """Evaluate each answer so often; verdicts that differ make it ambiguous."""
    evaluation: EvalSettings = EvalSettings()


def load_tasks(source: str, form: Form | None = None, split: str = "test") -> tuple[Task, ...]:
    """Tasks of a file, of a data set on the Hugging Face hub when no such file exists, or our own.

    Args:
        source: a path, a hub id, `bundled` or `tiny`.

    Raises:
        DataError: neither a file nor a hub id, or faulty rows.
    """
    if source in ("bundled", "tiny"):
        return bundled_tasks(source)
    if Path(source).exists() or source.count("/") != 1:
        return read_tasks(source, form)
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"{source} is no file here; to load it from the hub: pip install datasets"
        ) from error
    rows: Any = datasets.load_dataset(source, split=split)
    return tuple(task_of(row, form) for row in rows)


def run_evaluation(
    tasks: Sequence[Task],
    predictions: Sequence[Prediction],
    settings: RunSettings,
    progress: Callable[[InstanceResult], None] = lambda result: None,
) -> Mapping[str, Any]:
    """Evaluate all predictions and write the reports; gives the run report.

    Files: `OUT/logs/run_evaluation/RUN_ID/MODEL/INSTANCE/{report.json,test_output.txt}` and
    `OUT/MODEL.RUN_ID.json`, as SWE-bench has them.

    Raises:
        DataError: a prediction for a task that the data set does not hold, or several models.
        ConfigError: Ray workers and a limit for images, which only one machine can keep.
    """
    if isinstance(settings.workers, RayWorkers) and settings.evaluation.images is not None:
        raise ConfigError(
            "--disk-gb counts the images of one machine: with Ray workers, pull the images on every "
            "node before"
        )
    by_id = {task.instance_id: task for task in tasks}
    for prediction in predictions:
        if prediction.instance_id not in by_id:
            near = closest(prediction.instance_id, by_id)
            raise DataError(f"no task {prediction.instance_id!r} in the data set.{near}")
    models = sorted({prediction.model for prediction in predictions})
    if len(models) > 1:
        raise DataError(f"one run has one model, got {', '.join(models)}; split the predictions")
    model = models[0] if models else "none"
    folder = folder_of(settings.out, settings.run_id, model)
    reports = dict(read_reports(folder)) if settings.resume else {}
    kept = {i for i, body in reports.items() if body["verdict"] != Verdict.INFRA_FAILURE}
    todo = [prediction for prediction in predictions if prediction.instance_id not in kept]
    for result in _results(by_id, todo, settings):
        body = write_report(folder, result)
        reports[result.instance_id] = body
        progress(result)
    answered = {p.instance_id: reports[p.instance_id] for p in predictions}
    return write_run_report(settings.out, settings.run_id, model, answered, by_id)


def write_run_report(
    out: Path, run_id: str, model: str, reports: Mapping[str, Report], ids: Iterable[str]
) -> Mapping[str, Any]:
    """Write `OUT/MODEL.RUN_ID.json` and give it back."""
    report = run_report(reports, ids)
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{model.replace('/', '__')}.{run_id}.json"
    file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def read_reports(folder: Path) -> Mapping[str, Report]:
    """The instance reports below a model's folder, by instance."""
    found: dict[str, Report] = {}
    for file in sorted(folder.glob("*/report.json")):
        try:
            found |= json.loads(file.read_text(encoding="utf-8"))
        except json.JSONDecodeError:
            continue  # written halfway when a run was killed: evaluated again
    return found


def summarise(report: Mapping[str, Any]) -> str:
    """A few lines for people."""
    total, resolved = report["submitted_instances"], report["resolved_instances"]
    lines = [f"resolved {resolved} of {total} submitted ({report['total_instances']} tasks)"]
    for name in ("unresolved", "suspicious", "empty_patch", "timeout", "ambiguous_failure"):
        lines.append(f"  {name.replace('_', ' ')}: {report[f'{name}_instances']}")
    lines.append(f"  infra failures, which say nothing: {report['infra_failure_instances']}")
    lines += [f"  {i}: {why[:300]}" for i, why in report["failure_reasons"].items()]
    return "\n".join(lines)


def _results(
    tasks: Mapping[str, Task], todo: Iterable[Prediction], settings: RunSettings
) -> Iterator[InstanceResult]:
    jobs = [
        _Job(
            task=tasks[p.instance_id], prediction=p, settings=settings.evaluation, n=settings.repeat
        )
        for p in todo
    ]
    if isinstance(settings.workers, RayWorkers):
        yield from fan_out(settings.workers, _repeated, jobs, _lost)
        return
    with ThreadPoolExecutor(max_workers=settings.workers) as pool:
        for future in as_completed([pool.submit(_repeated, job) for job in jobs]):
            yield future.result()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One answer to evaluate `n` times."""

    task: Task
    prediction: Prediction
    settings: EvalSettings
    n: int


def _lost(job: _Job, reason: str) -> InstanceResult:
    return InstanceResult(
        instance_id=job.task.instance_id,
        model=job.prediction.model,
        verdict=Verdict.INFRA_FAILURE,
        reason=f"the Ray workers that evaluated it died: {reason.partition(chr(10))[0]}",
    )


def _repeated(job: _Job) -> InstanceResult:
    results = [evaluate(job.task, job.prediction, job.settings) for _ in range(job.n)]
    verdicts = [result.verdict for result in results]
    if len(set(verdicts)) == 1:
        return results[0]
    counts = ", ".join(f"{v} {verdicts.count(v)}x" for v in sorted(set(verdicts)))
    return replace(
        results[0],
        verdict=Verdict.AMBIGUOUS,
        reason=f"flaky: {counts}",
        evidence=(*results[0].evidence, f"verdicts of {job.n} runs: {counts}"),
    )


def folder_of(out: Path, run_id: str, model: str) -> Path:
    """Where the instance reports of one model lie, as SWE-bench has it."""
    return out / "logs" / "run_evaluation" / run_id / model.replace("/", "__")


def write_report(folder: Path, result: InstanceResult) -> Report:
    """Write an instance's `report.json` and `test_output.txt`; gives the report's body."""
    place = folder / result.instance_id.replace("/", "__")
    place.mkdir(parents=True, exist_ok=True)
    report = instance_report(result)
    (place / "test_output.txt").write_text(result.log, encoding="utf-8")
    # Whole or not at all, so that --resume never reads half a report.
    half = place / "report.json.part"
    half.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    half.replace(place / "report.json")
    body: Report = report[result.instance_id]
    return body
