"""Commands for other people's formats: export and import."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from turngym.errors import ConfigError, DataError
from turngym.types import Trajectory

__all__ = ["Format", "export", "import_"]


class Format(StrEnum):
    """What can be written and read."""

    ATIF = "atif"
    ROWS = "rows"
    SFT = "sft"
    PREFERENCE = "preference"


Kind = Annotated[Format, typer.Option("--format", help="The format of the other side.")]


def export(
    source: Annotated[Path, typer.Argument(help="A run, or a .jsonl file of trajectories.")],
    kind: Kind,
    out: Annotated[Path, typer.Option(help="File; rows may be .parquet, atif a folder.")],
    least: Annotated[
        float | None, typer.Option("--min-outcome", help="Leave out episodes below this.")
    ] = None,
    margin: Annotated[
        float, typer.Option(help="Preferences: outcomes must differ by more than this.", min=0)
    ] = 0.0,
    privileged: Annotated[
        bool, typer.Option("--privileged", help="atif and rows: write hidden answers too.")
    ] = False,
) -> None:
    """Write training trajectories in another format; failures of others are left out of data sets.

    Examples:

        turngym export runs/web_shop --format sft --min-outcome 1 --out sft.jsonl

        turngym export runs/web_shop --format rows --out rows.parquet

        turngym export episodes.jsonl --format atif --out atif/
    """
    from turngym import formats

    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise ConfigError(f"{out} exists already: choose another --out")
    chosen = (t for t in _read(source) if least is None or (t.outcome or 0.0) >= least)
    rows: Iterable[Mapping[str, Any]]
    if kind is Format.SFT:
        rows = (formats.to_chat(t) for t in chosen if t.status.counts and t.turns)
    elif kind is Format.PREFERENCE:
        rows = (formats.to_pair(pair) for pair in formats.pairs(chosen, margin=margin))
    elif kind is Format.ROWS:
        rows = (formats.to_row(t, privileged=privileged) for t in chosen)
    else:
        rows = (formats.to_atif(t, privileged=privileged) for t in chosen)
    count = _write(out, list(rows), kind)
    typer.echo(f"{out}: {count} {'pairs' if kind is Format.PREFERENCE else 'trajectories'}")


def import_(
    source: Annotated[Path, typer.Argument(help="A .jsonl, .json or .parquet file, or a folder.")],
    kind: Kind,
    out: Annotated[Path, typer.Option(help="The .jsonl file of trajectories to write.")],
) -> None:
    """Read trajectories from another format; `turngym report` then shows them.

    Conversations without token ids can be looked at and imitated (`turngym sft --from`), not
    trained on by reinforcement.

    Example:

        turngym import atif/ --format atif --out episodes.jsonl
    """
    from turngym.serial import TrajectoryWriter

    if out.exists():
        raise ConfigError(f"{out} exists already: choose another --out")
    found = [t for number, row in enumerate(_rows(source)) for t in _from(kind, row, number)]
    with TrajectoryWriter(out) as writer:
        for trajectory in found:
            writer.write(trajectory)
    typer.echo(f"{out}: {len(found)} trajectories")


def _from(kind: Format, row: Mapping[str, Any], number: int) -> Sequence[Trajectory]:
    from turngym import formats

    match kind:
        case Format.SFT:
            return [formats.from_chat(row, episode=str(number))]
        case Format.PREFERENCE:
            return formats.from_pair(row, group=str(number))
        case Format.ROWS:
            return [formats.from_row(row)]
        case Format.ATIF:
            return [formats.from_atif(row)]


def _read(source: Path) -> Iterator[Trajectory]:
    """Training trajectories of a run, or all of a file."""
    from turngym.report.folder import RunFolder

    run = RunFolder.open(source)
    for stage in run.stages():
        if stage.kind != "evaluation":  # held-out tasks are no training data
            yield from run.trajectories(stage)


def _write(out: Path, rows: Sequence[Mapping[str, Any]], kind: Format) -> int:
    if out.suffix == ".parquet":
        if kind is not Format.ROWS:
            raise ConfigError(f"only rows can be written as .parquet, not {kind}")
        from turngym.formats import features

        typed = features()
        from datasets import Dataset, disable_progress_bars

        disable_progress_bars()
        Dataset.from_list([dict(row) for row in rows], features=typed).to_parquet(str(out))
        return len(rows)
    if out.suffix in (".jsonl", ".json"):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("".join(_line(row) + "\n" for row in rows), encoding="utf-8")
        return len(rows)
    if kind is not Format.ATIF:
        raise ConfigError(f"{out} must end in .jsonl{' or .parquet' * (kind is Format.ROWS)}")
    out.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(rows):
        (out / f"{number:06d}.json").write_text(_line(row) + "\n", encoding="utf-8")
    return len(rows)


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _rows(source: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of a file, or of all .json files of a folder."""
    if source.is_dir():
        for path in sorted(source.glob("*.json")):
            yield from _rows(path)
        return
    if source.suffix == ".parquet":
        from turngym.formats import features

        features()  # says which extra is missing
        from datasets import Dataset, disable_progress_bars

        disable_progress_bars()
        rows: Any = Dataset.from_parquet(str(source))
        yield from rows
        return
    text = source.read_text(encoding="utf-8")
    try:
        whole = json.loads(text)  # one document, perhaps over many lines
        yield from whole if isinstance(whole, list) else [whole]
        return
    except ValueError:
        pass
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise DataError(f"{source}, line {number}: not JSON ({error})") from error
