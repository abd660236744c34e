"""Searches written to a file once and read from it ever after: the same results offline."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from turngym.envs.retrieval.passages import Hit, Passage, Retriever, check_k
from turngym.errors import DataError, EnvironmentFailure

__all__ = ["Recording"]

_START = '{"query"'


class Recording:
    """A `Retriever` that answers from a JSON-lines file and asks `source` for what is not in it.

    Args:
        path: the file; made when missing, and extended by one line per new query.
        source: asked about new queries; None replays only.

    Raises:
        DataError: a line of the file is damaged.
        EnvironmentFailure: (in `search`) replaying, and the file does not hold a query.
    """

    def __init__(self, path: str | Path, source: Retriever | None = None) -> None:
        self._path, self._source, self._lock = Path(path), source, threading.Lock()
        self._known: dict[tuple[str, int], tuple[Hit, ...]] = {}
        if self._path.exists():
            for number, line in enumerate(self._path.read_text("utf-8").split("\n"), 1):
                if line:
                    self._load(line, f"{path}:{number}")

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Hit, ...]]:
        """For each query its recorded hits; new queries go to the source in one call."""
        check_k(k)
        new = [query for query in dict.fromkeys(queries) if (query, k) not in self._known]
        if new:
            self._extend(new, k)
        return [self._known[query, k] for query in queries]

    def _extend(self, queries: Sequence[str], k: int) -> None:
        if self._source is None:
            raise EnvironmentFailure(
                f"{self._path} holds no search for {queries[0]!r} with k={k}, and there is no "
                "source to ask: record with one first"
            )
        answers = self._source.search(queries, k)
        with self._lock, self._path.open("a+b") as file:
            if _torn(file):
                file.write(b"\n")
            for query, hits in zip(queries, answers, strict=True):
                if (query, k) not in self._known:  # another thread may have been faster
                    line = json.dumps(_row(query, k, hits), ensure_ascii=False) + "\n"
                    file.write(line.encode())
                    self._known[query, k] = hits

    def _load(self, line: str, where: str) -> None:
        try:
            row = json.loads(line)
        except ValueError as error:
            if line.startswith(_START) or _START.startswith(line):
                return  # cut off when its writer was killed: the search is asked for again
            raise DataError(f"{where}: not a recorded search: {line:.100}") from error
        try:
            hits = tuple(
                Hit(passage=Passage(id=id, title=title, text=text), score=score)
                for id, title, text, score in row["hits"]
            )
            self._known[row["query"], row["k"]] = hits
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{where}: not a recorded search ({error!r}): {line:.100}") from error


def _torn(file: BinaryIO) -> bool:
    """Whether the file ends within a line, which a new one must not continue."""
    if not file.seek(0, os.SEEK_END):
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def _row(query: str, k: int, hits: Sequence[Hit]) -> dict[str, Any]:
    rows = [(h.passage.id, h.passage.title, h.passage.text, h.score) for h in hits]
    return {"query": query, "k": k, "hits": rows}
