"""`turngym swe`: evaluate patches in sandboxes that cannot be fooled."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from turngym.envs.sandbox.images import Images
    from turngym.types import Trajectory

__all__ = ["app", "evaluate_command", "report", "run_command", "synth", "validate"]

app = typer.Typer(no_args_is_help=True, help=__doc__)

Dataset = Annotated[str, typer.Option(help="Task rows: .jsonl, .json, .parquet, or a hub id.")]
Out = Annotated[Path, typer.Option(help="Folder for logs and reports.")]
Workers = Annotated[int, typer.Option(min=1, help="Answers evaluated at the same time.")]
Fleet = Annotated[
    str,
    typer.Option(help="How many at the same time; ray:8 is eight workers of a Ray cluster."),
]
RunId = Annotated[str, typer.Option(help="Name of the run in file names.")]
Repeat = Annotated[int, typer.Option(min=1, help="Runs per answer; differing verdicts are flaky.")]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds for the tests of one answer.")]
Disk = Annotated[
    float,
    typer.Option("--disk-gb", min=0, help="Pull missing images, and keep them below this; 0: off."),
]
Split = Annotated[str, typer.Option(help="Split of a hub data set.")]


def _images(disk_gb: float) -> "Images | None":
    from turngym.envs.sandbox.images import Images

    return Images(int(disk_gb * 1e9)) if disk_gb else None


@app.command("eval")
def evaluate_command(
    dataset: Dataset,
    predictions: Annotated[str, typer.Option(help="A predictions file, `gold` or `empty`.")],
    out: Out = Path("swe-eval"),
    workers: Fleet = "1",
    resume: Annotated[bool, typer.Option(help="Keep the verdicts of a former run.")] = False,
    run_id: RunId = "run",
    repeat: Repeat = 1,
    timeout: Timeout = 1800.0,
    sealed: Annotated[bool, typer.Option(help="Use both graders.")] = True,
    disk: Disk = 0.0,
    split: Split = "test",
) -> None:
    """Evaluate predictions and write SWE-bench's reports."""
    from turngym.envs.fleet.cluster import parse_workers
    from turngym.envs.swe.evaluate import EvalSettings
    from turngym.envs.swe.predictions import read_predictions, reference_predictions
    from turngym.envs.swe.run import RunSettings, load_tasks, run_evaluation, summarise

    tasks = load_tasks(dataset, split=split)
    if predictions in ("gold", "empty"):
        answers = reference_predictions(tasks, predictions)
    else:
        answers = read_predictions(predictions)
    report = run_evaluation(
        tasks,
        answers,
        RunSettings(
            out=out,
            run_id=run_id,
            workers=parse_workers(workers),
            resume=resume,
            repeat=repeat,
            evaluation=EvalSettings(timeout_s=timeout, sealed=sealed, images=_images(disk)),
        ),
        progress=lambda result: typer.echo(f"{result.instance_id}: {result.verdict.value}"),
    )
    typer.echo(summarise(report))
    if report["infra_failure_instances"]:
        raise typer.Exit(3)


@app.command()
def validate(
    dataset: Dataset,
    out: Out = Path("swe-validate"),
    workers: Workers = 1,
    repeat: Repeat = 1,
    timeout: Timeout = 1800.0,
    disk: Disk = 0.0,
    split: Split = "test",
) -> None:
    """Check every task: the reference fix must resolve it, and doing nothing must not.

    Writes `valid.txt`, `invalid.txt` and `flaky.txt` with one task id a line.
    """
    from turngym.envs.swe.evaluate import EvalSettings
    from turngym.envs.swe.run import load_tasks
    from turngym.envs.swe.validate import validate_tasks

    tasks = load_tasks(dataset, split=split)
    settings = EvalSettings(timeout_s=timeout, images=_images(disk))
    checks = validate_tasks(tasks, workers=workers, repeat=repeat, settings=settings)
    out.mkdir(parents=True, exist_ok=True)
    for name in ("valid", "invalid", "flaky"):
        ids = [check.instance_id for check in checks if check.outcome == name]
        (out / f"{name}.txt").write_text("".join(f"{i}\n" for i in ids), encoding="utf-8")
        typer.echo(f"{name}: {len(ids)}")
    for check in checks:
        if check.outcome != "valid":
            typer.echo(f"  {check.instance_id}: {check.reason}")
    if any(check.outcome != "valid" for check in checks):
        raise typer.Exit(1)


def _say_episode(episode: "Trajectory", verdict: str) -> None:
    typer.echo(f"{episode.task_id}: {verdict}, {len(episode.turns)} turns")


@app.command("run")
def run_command(
    agent: Annotated[
        str,
        typer.Option(help="gold, expert (bundled tasks), or what `turngym rollout --agent` takes."),
    ],
    dataset: Annotated[
        str, typer.Option(help="`bundled`, `tiny`, or a file of task rows.")
    ] = "bundled",
    out: Out = Path("swe-run"),
    actions: Annotated[str, typer.Option(help="bash, tools or xml (R2E-Gym's form).")] = "bash",
    model: Annotated[str | None, typer.Option(help="Its name in reports; default: AGENT.")] = None,
    run_id: RunId = "run",
    workers: Fleet = "1",
    resume: Annotated[bool, typer.Option(help="Keep finished episodes of a former run.")] = False,
    max_turns: Annotated[int, typer.Option(min=1, help="Turns of one episode.")] = 30,
    timeout: Timeout = 1800.0,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest reply.")] = 2048,
    seed: Annotated[int, typer.Option(help="Keys sampling and mistakes.")] = 0,
) -> None:
    """Let an agent work on tasks: trajectories, predictions, verdicts and the run report.

    Examples:

        turngym swe run --agent gold --dataset tiny --out runs/gold

        turngym swe run --agent http://localhost:8000/v1#MODEL --dataset tasks.jsonl --workers 4
    """
    from turngym.envs.fleet.cluster import parse_workers
    from turngym.envs.swe.evaluate import EvalSettings
    from turngym.envs.swe.presets import preset_name
    from turngym.envs.swe.run import load_tasks, summarise
    from turngym.trainers.swe import AgentRun, load_player, run_agent
    from turngym.types import Sampling

    tasks, form = load_tasks(dataset), preset_name(actions)
    settings = AgentRun(
        out=out,
        model=model or agent,
        run_id=run_id,
        workers=parse_workers(workers),
        resume=resume,
        actions=form,
        max_turns=max_turns,
        seed=seed,
        sampling=Sampling(temperature=temperature, max_new_tokens=max_new_tokens),
        evaluation=EvalSettings(timeout_s=timeout),
    )
    player = load_player(agent, tasks, form, seed)
    report = run_agent(tasks, player, settings, progress=_say_episode)
    typer.echo(summarise(report))
    if report["infra_failure_instances"]:
        raise typer.Exit(3)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="OUT/logs/run_evaluation/RUN_ID/MODEL")],
    dataset: Annotated[str | None, typer.Option(help="Counts unanswered tasks too.")] = None,
    split: Split = "test",
) -> None:
    """Print the run report of instance reports that lie in a folder."""
    from turngym.envs.swe.run import load_tasks, read_reports, summarise
    from turngym.envs.swe.verdict import run_report
    from turngym.errors import DataError

    reports = read_reports(folder)
    if not reports:
        raise DataError(f"no */report.json below {folder}")
    ids = [task.instance_id for task in load_tasks(dataset, split=split)] if dataset else []
    typer.echo(summarise(run_report(reports, ids)))


@app.command()
def synth(
    source: Annotated[Path, typer.Argument(help="A source tree, or an sdist (.tar.gz, .zip).")],
    out: Annotated[Path, typer.Option(help="File of the task rows.")] = Path("synth.jsonl"),
    count: Annotated[int, typer.Option(min=1, help="Tasks wanted.")] = 20,
    tries: Annotated[int, typer.Option(min=1, help="Mutations run at most.")] = 200,
    seed: Annotated[int, typer.Option(help="Keys the choice of mutations.")] = 0,
    image: Annotated[
        str | None,
        typer.Option(help="Image with pytest and the package's dependencies; default: the base."),
    ] = None,
    workers: Workers = 1,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for all tests, healthy.")] = 300.0,
    transform: Annotated[
        list[str] | None, typer.Option(help="Use only this transform; may be given again.")
    ] = None,
) -> None:
    """Make tasks by planting bugs in a package: kept when they break some tests and not all.

    Example:

        pip download --no-deps --no-binary :all: cachetools

        turngym swe synth cachetools-*.tar.gz --count 30 --out cachetools.jsonl

        turngym swe validate --dataset cachetools.jsonl
    """
    import json

    from turngym.envs.swe.synth.package import read_package
    from turngym.errors import MissingExtraError

    try:
        from turngym.envs.swe.synth.make import Found, SynthSettings, synthesise
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "libcst", "swe") from error
    package = read_package(source)
    defaults = SynthSettings()
    settings = SynthSettings(
        count=count,
        tries=tries,
        seed=seed,
        image=image or defaults.image,
        workers=workers,
        timeout_s=timeout,
        transforms=tuple(transform) if transform else None,
    )

    def show(item: Found) -> None:
        place = f"{item.path}:{item.mutation.function}"
        typer.echo(f"{item.outcome}: {item.mutation.transform} in {place}")

    made = synthesise(package, settings, show)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(json.dumps(row) + "\n" for row in made.rows), encoding="utf-8")
    ended = ", ".join(f"{name} {number}" for name, number in made.outcomes.items())
    typer.echo(f"{package.name} {package.version}: {made.stable} tests; {ended}")
    typer.echo(f"{len(made.rows)} tasks in {out}")
    if not made.rows:
        raise typer.Exit(1)
