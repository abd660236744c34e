"""What credit a method gave to stored episodes: one line of JSON each, to be read without torch.

A run writes RUN/credit/step-000012.jsonl beside RUN/trajectories/step-000012.jsonl, `turngym credit`
a folder per method. Numbers are float32 with nine digits, which restores them bit by bit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from turngym.errors import DataError
from turngym.trainers.files import write_whole

__all__ = ["Credited", "read_ledger", "write_ledger"]

LEDGER_FORMAT = 1

Row = tuple[float, ...]
Rows = tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credited:
    """The credit of one episode. T turns; numbers of tokens are lists per turn, its sampled tokens
    in order."""

    episode: str
    method: str
    counts: bool
    """Whether it entered loss and baselines; the credit of one that did not is 0."""
    outcome: float
    """As the method saw it, with penalties of the run."""
    rewards: Row
    """[T] turn rewards as the method saw them, the environment's or a signal's; NaN: none."""
    turn: Row
    """[T] advantages."""
    token: Rows | None = None
    """For token-level methods; None: every token has its turn's advantage."""
    clip_scale: Row | None = None
    """[T] factors on the clip range; None: 1."""
    weight: Rows | None = None
    """Weights of tokens in the loss; None: 1."""
    turn_columns: Mapping[str, Row] = field(default_factory=dict)
    """[T] each: signal columns that the method read, NaN where there is none."""
    token_columns: Mapping[str, Rows] = field(default_factory=dict)
    """Signal columns of tokens that the method read."""


def write_ledger(path: Path, rows: Iterable[Credited]) -> None:
    """Write a file that is whole or absent."""
    lines = []
    for row in rows:
        data = {"format_version": LEDGER_FORMAT, **asdict(row)}
        lines.append(json.dumps(_plain(data), allow_nan=False, separators=(",", ":")))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, "".join(line + "\n" for line in lines))


def read_ledger(path: Path) -> Iterator[Credited]:
    """The lines of a file that `write_ledger` wrote.

    Raises:
        DataError: no such file, or a line that is no credit; names file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"cannot read credit from {path}: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        try:
            data = json.loads(line)
            version = data.pop("format_version")
            if version != LEDGER_FORMAT:
                raise ValueError(f"format {version}, this turngym reads {LEDGER_FORMAT}")
            yield Credited(**{key: _whole(value) for key, value in data.items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}, line {number} is no credit: {error}") from error


def _plain(value: Any) -> Any:
    """NaN as None: JSON has no word for it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _whole(value: Any) -> Any:
    """The inverse of `_plain`: None inside a list was NaN."""
    if isinstance(value, list):
        return tuple(math.nan if item is None else _whole(item) for item in value)
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return value
