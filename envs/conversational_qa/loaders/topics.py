"""TREC topics with human rewrites: iKAT 2023 to 2025, CAsT 2020 to 2022 (MIT)."""

from __future__ import annotations

from pathlib import Path

from turngym.envs.conversational_qa.loaders.rows import (
    Loaded,
    Row,
    data_error,
    read_json,
    read_jsonl,
    rows_of,
)
from turngym.envs.conversational_qa.tasks import Exchange, Question, Task
from turngym.envs.retrieval.passages import Passage

__all__ = ["cast", "ikat"]


def ikat(path: Path) -> Loaded:
    """One task per turn of a topics file.

    Passages come from `<name>_psg_text.jsonl` beside it, where that exists (2023); their ids are
    `document:passage`. What is known about the user (`ptkb`) opens the history, as the one thing the
    answers rest on beside the passages.
    """
    tasks = []
    for topic in rows_of(read_json(path), str(path)):
        number = topic.key("number")
        history = [Exchange(question=_about_user(topic), answer="I will keep that in mind.")]
        for turn in topic.rows("turns", "responses"):
            text, answer = turn.text("utterance", "user_utterance"), turn.text("response")
            question = Question(
                text=text,
                references=(answer,),
                rewrite=turn.text("resolved_utterance"),
                gold_passages=_strings(turn, "response_provenance", "citations"),
            )
            name = f"{number}-{turn.key('turn_id')}"
            tasks.append((number, Task(id=name, questions=(question,), history=tuple(history))))
            history.append(Exchange(question=text, answer=answer))
    beside = path.with_name(f"{path.stem}_psg_text.jsonl")
    passages = tuple(_ikat_passage(row) for row in read_jsonl(beside)) if beside.exists() else ()
    return Loaded(tasks=tuple(tasks), passages=_distinct(passages))


def cast(path: Path) -> Loaded:
    """One task per user turn: the flat files of 2020 and 2021, the tree of 2022.

    2021: the canonical passage is the reference and part of the corpus. 2022: the response that
    follows is the reference, and each turn's history is its own branch. User turns without a
    response (2020 has none) are history of later turns only.
    """
    tasks: list[tuple[str, Task]] = []
    passages: list[Passage] = []
    for topic in rows_of(read_json(path), str(path)):
        turns = topic.rows("turn")
        if any("participant" in turn.values for turn in turns):
            tasks += _tree(topic.key("number"), turns)
        else:
            tasks += _flat(topic.key("number"), turns, passages)
    return Loaded(tasks=tuple(tasks), passages=_distinct(passages))


def _flat(number: str, turns: tuple[Row, ...], passages: list[Passage]) -> list[tuple[str, Task]]:
    tasks, history = [], list[Exchange]()
    for turn in turns:
        text, answer = turn.text("raw_utterance"), turn.maybe("passage")
        if answer:
            id = f"{turn.key('canonical_result_id')}:{turn.key('passage_id')}"
            passages.append(Passage(id=id, text=answer))
            question = Question(
                text=text,
                references=(answer,),
                rewrite=turn.text("manual_rewritten_utterance"),
                gold_passages=(id,),
            )
            name = f"{number}-{turn.key('number')}"
            tasks.append((number, Task(id=name, questions=(question,), history=tuple(history))))
        history.append(Exchange(question=text, answer=answer))
    return tasks


def _tree(number: str, turns: tuple[Row, ...]) -> list[tuple[str, Task]]:
    by_number = {turn.key("number"): turn for turn in turns}
    tasks = []
    for answer in turns:
        if answer.text("participant") != "System":
            continue
        path = _branch(answer, by_number)
        asked = path[-2] if len(path) > 1 else None
        if asked is None or asked.text("participant") != "User":
            continue  # a system turn that opens a branch answers nobody
        question = Question(
            text=asked.text("utterance"),
            references=(answer.text("response"),),
            rewrite=asked.text("manual_rewritten_utterance"),
            gold_passages=_strings(answer, "provenance"),
        )
        name = f"{number}_{answer.key('number')}"
        history = _exchanges(path[:-2])
        tasks.append((number, Task(id=name, questions=(question,), history=history)))
    return tasks


def _branch(turn: Row, by_number: dict[str, Row]) -> list[Row]:
    path = [turn]
    while "parent" in path[0].values:
        parent = path[0].key("parent")
        if parent not in by_number or len(path) > len(by_number):
            raise data_error(path[0].where, "the parent must be an earlier turn", parent)
        path.insert(0, by_number[parent])
    return path


def _exchanges(path: list[Row]) -> tuple[Exchange, ...]:
    exchanges: list[Exchange] = []
    for turn in path:
        if turn.text("participant") == "User":
            exchanges.append(Exchange(question=turn.text("utterance"), answer=""))
        elif exchanges:
            last = exchanges.pop()
            answer = f"{last.answer} {turn.text('response')}".strip()
            exchanges.append(Exchange(question=last.question, answer=answer))
    return tuple(exchanges)


def _about_user(topic: Row) -> str:
    facts = topic.values.get("ptkb", [])
    values = list(facts.values()) if isinstance(facts, dict) else facts
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise data_error(f"{topic.where}.ptkb", "expected strings about the user", facts)
    return " ".join(values)


def _strings(row: Row, *names: str) -> tuple[str, ...]:
    return row.strings(*names) if any(name in row.values for name in names) else ()


def _ikat_passage(row: Row) -> Passage:
    id = f"{row.text('doc_id')}:{row.key('passage_id')}"
    return Passage(id=id, text=row.text("passage_text").strip())


def _distinct(passages: tuple[Passage, ...] | list[Passage]) -> tuple[Passage, ...]:
    return tuple({passage.id: passage for passage in passages}.values())
