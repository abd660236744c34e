"""Relevance judgements and queries as BEIR and MTRAG store them, and the mean scores over them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from turngym.envs.retrieval.passages import Retriever
from turngym.errors import DataError
from turngym.rewards.retrieval import ndcg, recall

__all__ = ["Qrels", "Quality", "measure", "read_qrels", "read_queries"]

Qrels = Mapping[str, Mapping[str, float]]
"""Query id to passage id to gain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Means over queries, in [0, 1]."""

    recall: float
    ndcg: float
    num_queries: int


def read_qrels(path: str | Path) -> Qrels:
    """Judgements of a tab-separated file with the header query-id, corpus-id, score.

    Raises:
        DataError: no such file, another header, or a line of another form.
    """
    judged: dict[str, dict[str, float]] = {}
    lines = csv.reader(_lines(path), delimiter="\t")
    header = next(lines, [])
    if header != ["query-id", "corpus-id", "score"]:
        raise DataError(f"{path}: expected the header query-id, corpus-id, score, got {header}")
    for line in lines:
        try:
            query, passage, gain = line
            judged.setdefault(query, {})[passage] = float(gain)
        except ValueError as error:
            raise DataError(f"{path}:{lines.line_num}: not a judgement: {line}") from error
    return judged


def read_queries(path: str | Path) -> dict[str, str]:
    """Query id to text, from JSON lines with `_id` and `text`; speaker marks are left out.

    Raises:
        DataError: no such file, or a line of another form.
    """
    queries = {}
    for number, line in enumerate(_lines(path), 1):
        try:
            row = json.loads(line)
            text = row["text"].replace("|user|:", " ")
            queries[str(row["_id"])] = " ".join(text.split())
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{path}:{number}: not a query ({error!r}): {line:.100}") from error
    return queries


def measure(retriever: Retriever, queries: Mapping[str, str], qrels: Qrels, k: int) -> Quality:
    """Mean recall and nDCG at `k` over the judged queries.

    Raises:
        DataError: a judged query has no text, or nothing is judged.
    """
    missing = sorted(set(qrels) - set(queries))
    if missing or not qrels:
        raise DataError(
            f"{len(missing)} of {len(qrels)} judged queries have no text: {missing[:3]}"
        )
    names = sorted(qrels)
    found = retriever.search([queries[name] for name in names], k)
    rankings = [[hit.passage.id for hit in hits] for hits in found]
    pairs = list(zip(names, rankings, strict=True))
    return Quality(
        recall=sum(recall(ids, qrels[name].keys(), k) for name, ids in pairs) / len(pairs),
        ndcg=sum(ndcg(ids, qrels[name], k) for name, ids in pairs) / len(pairs),
        num_queries=len(pairs),
    )


def _lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
