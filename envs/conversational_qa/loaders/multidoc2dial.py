"""MultiDoc2Dial (and Doc2Dial): dialogues grounded in sections of documents, from a user's folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from turngym.envs.conversational_qa.loaders.rows import Loaded, Row, data_error, read_json
from turngym.envs.conversational_qa.tasks import Exchange, Question, Task
from turngym.envs.retrieval.passages import Passage
from turngym.errors import DataError

__all__ = ["multidoc2dial"]


def multidoc2dial(path: Path) -> Loaded:
    """One task per agent turn that follows a user turn and rests on the documents.

    The folder holds one `*doc.json` and any number of `*dial*.json`. A passage is one section of a
    document, with the id `document#section`.
    """
    documents = sorted(path.glob("*doc.json"))
    dialogues = sorted(set(path.glob("*dial_*.json")) - set(documents))
    if len(documents) != 1 or not dialogues:
        raise DataError(
            f"{path}: expected one *doc.json and some *dial_*.json, got "
            f"{sorted(item.name for item in path.glob('*.json'))}"
        )
    sections: dict[tuple[str, str], str] = {}
    passages = {
        passage.id: passage
        for document in _leaves(_member(documents[0], "doc_data"), "spans")
        for passage in _passages(document, sections)
    }
    tasks = [
        task
        for file in dialogues
        for dialogue in _leaves(_member(file, "dial_data"), "turns")
        for task in _tasks(dialogue, sections)
    ]
    return Loaded(tasks=tuple(tasks), passages=tuple(passages.values()))


def _member(path: Path, name: str) -> tuple[Any, str]:
    data = read_json(path)
    if not isinstance(data, dict) or name not in data:
        raise data_error(str(path), f"expected an object with {name!r}", data)
    return data[name], str(path)


def _leaves(start: tuple[Any, str], key: str) -> Iterator[Row]:
    """Objects with `key` below domains and documents, whose nesting differs between releases."""
    value, where = start
    if isinstance(value, dict) and key in value:
        yield Row(value, where)
    elif isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in items:
            yield from _leaves((item, f"{where}[{name}]"), key)
    else:
        raise data_error(where, f"expected objects with {key!r}", value)


def _passages(document: Row, sections: dict[tuple[str, str], str]) -> Iterator[Passage]:
    """Sections in order; fills `sections` with (document, span) -> passage id."""
    name, spans = document.text("doc_id"), document.row("spans")
    texts: dict[str, list[str]] = {}
    for span_id in spans.values:
        span = spans.row(span_id)
        passage = f"{name}#{span.key('id_sec')}"
        texts.setdefault(passage, []).append(span.text("text_sp").strip())
        sections[name, span_id] = passage
    for passage, parts in texts.items():
        yield Passage(id=passage, title=document.maybe("title"), text=" ".join(parts))


def _tasks(dialogue: Row, sections: dict[tuple[str, str], str]) -> Iterator[tuple[str, Task]]:
    conversation = dialogue.text("dial_id")
    history: list[Exchange] = []
    asked: str | None = None
    for turn in dialogue.rows("turns"):
        words = turn.text("utterance")
        if turn.text("role") == "user":
            asked = words if asked is None else f"{asked} {words}"
            continue
        if asked is None:
            continue  # the agent speaks first
        gold = tuple(dict.fromkeys(_gold(dialogue, turn, sections)))
        if gold:
            question = Question(text=asked, references=(words,), gold_passages=gold)
            name = f"{conversation}-{turn.key('turn_id')}"
            yield conversation, Task(id=name, questions=(question,), history=tuple(history))
        history.append(Exchange(question=asked, answer=words))
        asked = None


def _gold(dialogue: Row, turn: Row, sections: dict[tuple[str, str], str]) -> Iterator[str]:
    for reference in turn.rows("references"):
        document = reference.maybe("doc_id") or dialogue.text("doc_id")
        place = document, reference.key("id_sp", "sp_id")
        if place not in sections:
            raise data_error(reference.where, "expected a span of the documents", place)
        yield sections[place]
