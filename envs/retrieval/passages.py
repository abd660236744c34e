"""Passages, hits, the retriever interface, and the corpus format of Search-R1."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from turngym.errors import DataError

__all__ = ["Hit", "Passage", "Retriever", "check_k", "parse_contents", "read_corpus", "render_hits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A piece of text that can be found and cited."""

    id: str
    text: str
    title: str = ""

    @property
    def contents(self) -> str:
        """Title in quotation marks on the first line, then the text, as Search-R1 stores it."""
        return f'"{self.title}"\n{self.text}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A passage with the score of the search that found it; higher is better."""

    passage: Passage
    score: float


class Retriever(Protocol):
    """Anything that finds passages."""

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Hit, ...]]:
        """For each query at most `k` hits, best first.

        The same queries give the same hits, ties included. Callable from several threads.
        """
        ...

    def __hash__(self) -> int:
        """By identity: what wraps a retriever is made once."""
        ...


def check_k(k: int) -> int:
    """`k`, when it is a possible number of hits."""
    if k < 1:
        raise ValueError(f"a search needs k of at least 1, got {k}")
    return k


def parse_contents(id: str, contents: str) -> Passage:
    """The passage behind `contents`: first line the title, quotation marks optional, then the text."""
    title, _, text = contents.partition("\n")
    if len(title) >= 2 and title[0] == title[-1] == '"':
        title = title[1:-1]
    return Passage(id=id, title=title, text=text)


def read_corpus(path: str | Path) -> Iterator[Passage]:
    """Passages of a JSON-lines file with `id` and `contents` per line, in order, one at a time.

    Raises:
        DataError: no such file, or a line that is no such object.
    """
    try:
        with Path(path).open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _passage(line, f"{path}:{number}")
    except OSError as error:
        raise DataError(f"cannot read the corpus {path}: {error.strerror}") from error


def render_hits(hits: Iterable[Hit]) -> str:
    """Hits as Search-R1 shows them: `Doc 1(Title: ...) text`, one per line."""
    return "".join(
        f"Doc {number}(Title: {hit.passage.title}) {hit.passage.text}\n"
        for number, hit in enumerate(hits, 1)
    )


def _passage(line: str, where: str) -> Passage:
    try:
        row: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not valid JSON: {error}") from error
    if not isinstance(row, dict) or not isinstance(row.get("contents"), str) or "id" not in row:
        raise DataError(
            f'{where}: a passage looks like {{"id": "1", "contents": "\\"Title\\"\\ntext"}}, '
            f"got {line.strip():.100}"
        )
    return parse_contents(str(row["id"]), row["contents"])
