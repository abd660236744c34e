"""Reading rows of data files: every fault names the file and the place in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from turngym.envs.conversational_qa.tasks import Exchange, Task
from turngym.envs.retrieval.passages import Passage
from turngym.errors import DataError

__all__ = [
    "Loaded",
    "Loader",
    "Row",
    "alternating",
    "data_error",
    "passage_id",
    "read_json",
    "read_jsonl",
    "rows_of",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a loader read."""

    tasks: tuple[tuple[str, Task], ...]
    """Conversation id and task: a conversation never lies in two splits."""
    passages: tuple[Passage, ...] = ()
    """What the data itself lets an agent search; empty when the corpus comes separately."""


Loader = Callable[[Path], Loaded]


def data_error(where: str, what: str, got: object) -> DataError:
    """An error that says where, what was expected, and what came instead."""
    return DataError(f"{where}: {what}, got {got!r:.120}")


@dataclass(frozen=True, slots=True)
class Row:
    """One JSON object with its place, whose fields are checked as they are read."""

    values: Mapping[str, Any]
    where: str

    def text(self, *names: str) -> str:
        """The string in the first of `names` that is present."""
        value: str = self._get(names, str, "a string")
        return value

    def maybe(self, *names: str) -> str:
        """As `text`; empty when all are missing or null."""
        present = [name for name in names if self.values.get(name) is not None]
        return self.text(*present) if present else ""

    def key(self, *names: str) -> str:
        """A string or number, as a string."""
        value = self._get(names, (str, int), "a string or a number")
        return str(value)

    def strings(self, *names: str) -> tuple[str, ...]:
        """A list of strings."""
        items = self._get(names, list, "a list")
        for item in items:
            if not isinstance(item, str):
                raise data_error(f"{self.where}.{names[0]}", "expected strings", item)
        return tuple(items)

    def rows(self, *names: str) -> tuple[Row, ...]:
        """A list of objects."""
        return rows_of(self._get(names, list, "a list"), f"{self.where}.{names[0]}")

    def row(self, *names: str) -> Row:
        """An object."""
        return Row(self._get(names, dict, "an object"), f"{self.where}.{names[0]}")

    def _get(self, names: Sequence[str], kind: type[T] | tuple[type, ...], form: str) -> Any:
        for name in names:
            if name in self.values:
                value = self.values[name]
                if not isinstance(value, kind) or isinstance(value, bool):
                    raise data_error(f"{self.where}.{name}", f"expected {form}", value)
                return value
        wanted = " or ".join(repr(name) for name in names)
        raise data_error(self.where, f"field {wanted} is missing", sorted(self.values))


def rows_of(items: object, where: str) -> tuple[Row, ...]:
    """A JSON list of objects as rows."""
    if not isinstance(items, list):
        raise data_error(where, "expected a list", items)
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            raise data_error(f"{where}[{number}]", "expected an object", item)
    return tuple(Row(item, f"{where}[{number}]") for number, item in enumerate(items))


def read_json(path: Path) -> Any:
    """The value in a JSON file."""
    try:
        return json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not valid JSON: {error}") from error


def read_jsonl(path: Path) -> Iterator[Row]:
    """One row per line of a JSON-lines file that is not empty."""
    for number, line in enumerate(_read(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{number}: not valid JSON: {error}") from error
        if not isinstance(value, dict):
            raise data_error(f"{path}:{number}", "expected an object", value)
        yield Row(value, f"{path}:{number}")


def alternating(turns: Sequence[str], where: str) -> tuple[Exchange, ...]:
    """Question, answer, question, answer: an even number of texts as exchanges."""
    if len(turns) % 2:
        raise data_error(where, "a history alternates questions and answers", list(turns))
    pairs = zip(turns[::2], turns[1::2], strict=True)
    return tuple(Exchange(question=question, answer=answer) for question, answer in pairs)


def passage_id(text: str) -> str:
    """A stable id for a passage that the data gives none."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
