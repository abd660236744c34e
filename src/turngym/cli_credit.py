"""Commands that look at stored episodes again: credit, rescore."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from turngym.errors import ConfigError
from turngym.types import Trajectory

if TYPE_CHECKING:
    from turngym.trainers.ledger import Credited

__all__ = ["credit", "rescore"]

Source = Annotated[
    Path, typer.Argument(help="Folder of a run, or a file of trajectories.", show_default=False)
]


def credit(
    source: Source,
    settings: Annotated[
        list[str] | None, typer.Argument(help="Settings of the method, such as gamma=0.9.")
    ] = None,
    method: Annotated[str, typer.Option(help="A credit method, such as gigpo.")] = "grpo",
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Whose weights measure signals; default: the run's newest checkpoint."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the result; default SOURCE/recredited/METHOD.")
    ] = None,
    show: Annotated[int, typer.Option(help="Episodes of the last rollout to print.", min=0)] = 16,
) -> None:
    """Credit the stored episodes of a run by any method, and print what each turn got.

    Examples:

        turngym credit runs/web_shop --method gigpo

        turngym credit runs/web_shop gamma=0.9 --method mapo --show 4

        turngym credit episodes.jsonl --method rloo
    """
    from turngym.config import apply_overrides
    from turngym.trainers.config import CreditSettings
    from turngym.trainers.ledger import write_ledger
    from turngym.trainers.offline import Recreditor, stored

    chosen = CreditSettings.model_validate(apply_overrides({"method": method}, settings or []))
    beside = _beside(source)
    rollouts = stored(source)
    recreditor = Recreditor(source, chosen, checkpoint, report=_note)
    target = out or beside / "recredited" / method
    trajectories: list[Trajectory] = []
    rows: list[Credited] = []
    for each in rollouts:
        trajectories, rows = recreditor(each)
        write_ledger(target / f"{each.label}.jsonl", rows)
    _print_credit(trajectories[:show], rows, rollouts[-1].label)
    typer.echo(f"{len(rollouts)} rollouts credited by {method}: {target}")


def rescore(
    source: Source,
    rewards: Annotated[
        str,
        typer.Option(help="NAME, NAME=WEIGHT or MODULE:OBJECT=WEIGHT, with commas between them."),
    ] = "",
    judge: Annotated[
        str | None, typer.Option(help="Agent that judges, such as http://HOST:PORT/v1#MODEL.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the result; default SOURCE/rescored/NAMES.")
    ] = None,
) -> None:
    """Score the stored episodes of a run with other rewards.

    What comes out has the shape of a run, so that `turngym credit` can go on from there.

    Examples:

        turngym rescore runs/web_shop --rewards outcome,length_guard=0.1

        turngym credit runs/web_shop/rescored/outcome --method rloo
    """
    from turngym.trainers.offline import rescore as score_again
    from turngym.trainers.rubrics import parse_rubric

    rubric = parse_rubric([spec for spec in rewards.split(",") if spec.strip()], judge)
    names = "+".join(term.reward.name for term in rubric.terms)
    target = out or _beside(source) / "rescored" / names
    for found in score_again(source, target, rubric):
        statuses = ", ".join(f"{name} {count}" for name, count in found.statuses.items())
        typer.echo(
            f"{found.label:>28}  {found.episodes:5d} episodes  mean outcome "
            f"{found.before:.3f} -> {found.after:.3f}  ({statuses})"
        )
    typer.echo(f"rescored: {target}")


def _print_credit(trajectories: Sequence[Trajectory], rows: Sequence[Credited], label: str) -> None:
    from rich.console import Console
    from rich.table import Table

    if not trajectories:
        return
    table = Table(title=f"{label}: advantage of each turn")
    for name in ("episode", "status", "outcome", "turns"):
        table.add_column(name)
    for trajectory, row in zip(trajectories, rows, strict=False):
        turns = " ".join("" if math.isnan(value) else f"{value:+.3f}" for value in row.turn)
        scored = "" if not row.counts else f"{row.outcome:.3f}"
        table.add_row(row.episode, trajectory.status.value, scored, turns)
    Console().print(table)


def _beside(source: Path) -> Path:
    """The folder that results go into: a run's own, or one named after a file."""
    if not source.exists():
        raise ConfigError(f"there is no run and no file {source}")
    return source if source.is_dir() else source.with_suffix("")


def _note(text: str) -> None:
    typer.echo(text, err=True)
