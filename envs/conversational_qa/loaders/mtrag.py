"""MTRAG and MTRAG-UN (IBM, Apache-2.0) as a closed world: the passages of all tasks are the corpus."""

from __future__ import annotations

from pathlib import Path

from turngym.envs.conversational_qa.loaders.rows import (
    Loaded,
    Row,
    alternating,
    data_error,
    read_jsonl,
)
from turngym.envs.conversational_qa.tasks import Kind, Question, Task
from turngym.envs.retrieval.passages import Passage

__all__ = ["mtrag"]

_KINDS = {
    "ANSWERABLE": Kind.ANSWER,
    "PARTIAL": Kind.ANSWER,
    "UNANSWERABLE": Kind.NO_ANSWER,
    "CONVERSATIONAL": Kind.ANSWER,
    "UNDERSPECIFIED": Kind.CLARIFY,
}


def mtrag(path: Path) -> Loaded:
    """One task per row of a `*reference.jsonl`; partly answerable questions want an answer."""
    tasks = []
    passages: dict[str, Passage] = {}
    for row in read_jsonl(path):
        gold = [_passage(context) for context in row.rows("contexts")]
        for passage in gold:
            if passages.setdefault(passage.id, passage).text != passage.text:
                raise data_error(row.where, "one document id, one text", passage.id)
        tasks.append((row.text("conversation_id"), _task(row, gold)))
    return Loaded(tasks=tuple(tasks), passages=tuple(passages.values()))


def _task(row: Row, gold: list[Passage]) -> Task:
    said = row.rows("input")
    speakers = [turn.text("speaker") for turn in said]
    if not said or speakers != (["user", "agent"] * len(said))[: len(said)] or len(said) % 2 == 0:
        raise data_error(f"{row.where}.input", "speakers alternate from user to user", speakers)
    labels = row.strings("answerability")
    if not labels or labels[0] not in _KINDS:
        raise data_error(f"{row.where}.answerability", f"one of {sorted(_KINDS)}", labels)
    *past, last = [turn.text("text") for turn in said]
    question = Question(
        text=last,
        references=tuple(target.text("text") for target in row.rows("targets")),
        kind=_KINDS[labels[0]],
        gold_passages=tuple(passage.id for passage in gold),
    )
    history = alternating(past, row.where)
    return Task(id=row.text("task_id"), questions=(question,), history=history)


def _passage(row: Row) -> Passage:
    return Passage(
        id=row.text("document_id"), title=row.maybe("title"), text=row.text("text").strip()
    )
