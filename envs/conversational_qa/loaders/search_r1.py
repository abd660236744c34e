"""Rows of Search-R1 (one question) and ChatR1 (a question in a conversation), as JSON or JSON lines."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from turngym.envs.conversational_qa.loaders.rows import (
    Loaded,
    Row,
    alternating,
    data_error,
    read_json,
    read_jsonl,
    rows_of,
)
from turngym.envs.conversational_qa.tasks import Kind, Question, Task
from turngym.errors import DataError

__all__ = ["chatr1", "search_r1"]

_QUESTION = re.compile(r"Question:\s*(.+?)\s*\Z", re.DOTALL)
_CONTEXT = re.compile(r"<context>(.*)</context>", re.DOTALL)
_QUERY = re.compile(r"User query:\s*(.+?)\s*\Z", re.DOTALL)
_SPEAKER = re.compile(r"^(User|Assistant):[ ]?", re.MULTILINE)

_KINDS = {"clarify": Kind.CLARIFY, "noanswer": Kind.NO_ANSWER, "no_answer": Kind.NO_ANSWER}


def search_r1(path: Path) -> Loaded:
    """One task per row; the question is `question`, or stands behind `Question:` in the prompt.

    The corpus (wiki-18) comes separately.
    """
    tasks = []
    for number, row in enumerate(_rows(path)):
        truth = row.row("reward_model").row("ground_truth")
        target = truth.values.get("target")
        references = (target,) if isinstance(target, str) else truth.strings("target")
        if not references:
            raise data_error(truth.where, "expected at least one answer in 'target'", references)
        text = row.maybe("question") or _match(_QUESTION, _prompt(row), row.where, "Question: ...")
        name = _name(row, number)
        question = Question(text=text, references=references)
        tasks.append((name, Task(id=name, questions=(question,))))
    return Loaded(tasks=tuple(tasks))


def chatr1(path: Path) -> Loaded:
    """One task per row; the prompt holds `<context>` and `User query:`, the truth the rewrite.

    Every entry of `ground_truth` is an acceptable reply of the same kind as the first.
    """
    tasks = []
    for number, row in enumerate(_rows(path)):
        prompt = _prompt(row)
        truths = row.row("reward_model").rows("ground_truth")
        if not truths:
            raise data_error(row.where, "expected at least one entry in 'ground_truth'", truths)
        first = truths[0]
        kind = _KINDS.get(first.maybe("action").lower(), Kind.ANSWER)
        context = _CONTEXT.search(prompt)
        turns = [] if context is None else _SPEAKER.split(context[1].strip())
        said = [text.strip() for text in turns[2::2]]
        name = _name(row, number)
        question = Question(
            text=_match(_QUERY, prompt, row.where, "User query: ..."),
            references=tuple(truth.text("response") for truth in truths),
            kind=kind,
            rewrite=first.maybe("rewrite"),
            gold_passages=first.strings("passage_id") if "passage_id" in first.values else (),
        )
        history = alternating(said, row.where)
        tasks.append((name, Task(id=name, questions=(question,), history=history)))
    return Loaded(tasks=tuple(tasks))


def _rows(path: Path) -> Iterable[Row]:
    if path.suffix == ".parquet":
        raise DataError(
            f"{path}: parquet is not read here; write it as JSON lines first, for example with "
            "pandas.read_parquet(path).to_json(out, orient='records', lines=True)"
        )
    return rows_of(read_json(path), str(path)) if path.suffix == ".json" else read_jsonl(path)


def _prompt(row: Row) -> str:
    messages = row.rows("prompt")
    if not messages:
        raise data_error(f"{row.where}.prompt", "expected at least one message", [])
    return messages[-1].text("content")


def _match(pattern: re.Pattern[str], text: str, where: str, form: str) -> str:
    match = pattern.search(text)
    if match is None:
        raise data_error(where, f"expected {form!r} in the prompt", text)
    return match[1]


def _name(row: Row, number: int) -> str:
    if "id" in row.values:
        return row.key("id")
    extra = row.row("extra_info") if "extra_info" in row.values else Row({}, row.where)
    index = extra.key("index") if "index" in extra.values else str(number)
    return "-".join(
        part for part in (row.maybe("data_source"), extra.maybe("split"), index) if part
    )
