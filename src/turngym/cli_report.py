"""Commands for looking: report, view, plot, diff."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from turngym.errors import ConfigError

if TYPE_CHECKING:
    from turngym.report.diff import StageComparison
    from turngym.report.folder import RunFolder

__all__ = ["diff", "plot", "report", "view"]

Runs = Annotated[
    list[Path], typer.Argument(help="Folders of runs, or .jsonl files of trajectories.")
]


def report(
    runs: Runs,
    out: Annotated[
        Path | None, typer.Option(help="File to write; default report.html in the first run.")
    ] = None,
    max_mb: Annotated[float, typer.Option(help="Largest size in MB.", min=1)] = 50.0,
) -> None:
    """Write one HTML file: curves, settings, and every trajectory with its credit.

    It needs no network and no server. Texts of the least telling trajectories are left out when
    the file would grow too large.

    Examples:

        turngym report runs/web_shop

        turngym report runs/grpo runs/gigpo --out compare.html
    """
    from turngym.report.html import write_report

    folders = _open(runs)
    first = runs[0]
    target = out or (first / "report.html" if first.is_dir() else first.with_suffix(".html"))
    done = write_report(folders, target, max_bytes=int(max_mb * 1e6))
    left = f", {done.left_out} of them without their text" if done.left_out else ""
    typer.echo(f"{done.path}: {done.trajectories} trajectories{left}, {done.bytes / 1e6:.1f} MB")


def view(
    runs: Runs,
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8765,
    host: Annotated[
        str, typer.Option(help="Other addresses let other machines read the runs.")
    ] = "127.0.0.1",
    open_browser: Annotated[bool, typer.Option("--open", help="Open a browser.")] = False,
) -> None:
    """Show runs in a browser while they train; only this machine can look, unless --host says so.

    Example:

        turngym view runs/web_shop
    """
    import webbrowser

    from turngym.report.server import serve

    server = serve(_open(runs), host, port)
    address = f"http://{host}:{server.server_address[1]}/"
    typer.echo(f"{address}  (Ctrl-C ends)")
    if open_browser:
        webbrowser.open(address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        typer.echo("stopped")
    finally:
        server.server_close()


def plot(
    runs: Runs,
    out: Annotated[Path, typer.Option(help="A .png, .svg or .pdf file.")] = Path("curves.png"),
    metrics: Annotated[
        str, typer.Option(help="Comma-separated, such as success,entropy,'clip fraction'.")
    ] = "success",
    window: Annotated[int, typer.Option(help="Steps that a point is the mean of.", min=1)] = 10,
    seeds: Annotated[
        bool, typer.Option("--seeds", help="One line: the mean over the runs, with a band.")
    ] = False,
) -> None:
    """Draw learning curves for a paper, in colours that everyone can tell apart.

    Examples:

        turngym plot runs/grpo runs/gigpo --out success.pdf

        turngym plot runs/seed-* --seeds --metrics success,entropy --out seeds.svg
    """
    from turngym.report.plot import draw_curves

    names = [name.strip() for name in metrics.split(",") if name.strip()]
    done = draw_curves(_open(runs), out, names=names, window=window, seeds=seeds)
    typer.echo(str(done))


def diff(
    a: Annotated[Path, typer.Argument(help="A run, or a .jsonl file of trajectories.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Tell two runs apart: settings, metrics with intervals, wins and losses by task.

    Example:

        turngym diff runs/grpo runs/gigpo
    """
    from turngym.report.diff import compare

    left, right = _open([a, b])
    found = compare(left, right)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=1))
        return
    typer.echo(f"A = {a}\nB = {b}")
    _title("settings that differ")
    for item in found.settings:
        typer.echo(f"  {item.key}: {item.a!r} -> {item.b!r}")
    if not found.settings:
        typer.echo("  none")
    if found.training:
        _title("training, mean of the last tenth of the common steps")
    for name, (one, two) in found.training.items():
        typer.echo(f"  {name:<14} A {one}   B {two}")
    for stage in found.stages:
        _show_stage(stage)


def _show_stage(stage: StageComparison) -> None:
    _title(f"{stage.label}: {stage.tasks} tasks that both played")
    for name, (one, two) in (("success", stage.success), ("outcome", stage.outcome)):
        typer.echo(f"  {name:<8} A {one}   B {two}")
    if not stage.tasks:
        return
    typer.echo(f"  outcome of B less A, paired: {stage.gain}")
    typer.echo(
        f"  B alone solves {len(stage.wins)}, A alone {len(stage.losses)} "
        f"(sign test p = {stage.p_value:.2g})"
    )
    for word, tasks in (("won", stage.wins), ("lost", stage.losses)):
        if tasks:
            shown = ", ".join(tasks[:12]) + (f", ... {len(tasks)} in all" if tasks[12:] else "")
            typer.echo(f"  {word}: {shown}")


def _title(text: str) -> None:
    typer.secho(f"\n{text}", bold=True)


def _open(paths: Sequence[Path]) -> list[RunFolder]:
    """The runs, with names that tell them apart.

    Raises:
        ConfigError: one is named twice.
    """
    from turngym.report.folder import RunFolder

    places = [path.resolve() for path in paths]
    if twice := [path for path, count in Counter(places).items() if count > 1]:
        raise ConfigError(f"{twice[0]} is named twice")
    ends = Counter(path.name for path in places)
    return [
        RunFolder.open(path, None if ends[place.name] == 1 else f"{place.parent.name}/{place.name}")
        for path, place in zip(paths, places, strict=True)
    ]
