"""Rows of public tool-use data: ToolRL and BFCL (single calls and multi-turn).

The call in a BFCL answer is text that its own harness evaluates; here it is read as data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turngym.envs.tool_use.calls import parse_call
from turngym.errors import DataError
from turngym.types import ToolCall

__all__ = [
    "BfclCallRow",
    "BfclDialogue",
    "ToolRLRow",
    "load_bfcl_calls",
    "load_bfcl_dialogues",
    "load_tool_rl",
    "parameter_names",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRLRow:
    """One step of a dialogue and the reply to imitate."""

    instruction: str
    input: str
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BfclCallRow:
    """One question that one call answers."""

    id: str
    question: str
    functions: tuple[Mapping[str, Any], ...]
    """BFCL's schemas, whose types are Python's."""
    answer: Mapping[str, Mapping[str, Sequence[Any]]]
    """Function -> parameter -> values that pass; `""` marks an optional one."""

    @property
    def schema(self) -> Mapping[str, Any]:
        """The function that the answer calls."""
        (name,) = self.answer
        return next(each for each in self.functions if each["name"] == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class BfclDialogue:
    """One multi-turn entry: a user message and the gold calls of every turn."""

    id: str
    questions: tuple[str, ...]
    gold_calls: tuple[tuple[ToolCall, ...], ...]
    initial_config: Mapping[str, Any]
    classes: tuple[str, ...]
    excluded: tuple[str, ...] = ()
    """Functions of the classes that the agent is not offered."""


def load_tool_rl(path: Path) -> tuple[ToolRLRow, ...]:
    """The rows of a file in ToolRL's SFT format, a JSON list.

    Raises:
        DataError: not readable, or a row lacks a field.
    """
    rows = _json(path, _text(path))
    if not isinstance(rows, list):
        raise DataError(f"{path} holds a {type(rows).__name__}, expected a list of rows")
    return tuple(
        ToolRLRow(**{key: _field(row, key, str, f"{path}, row {n}") for key in _TOOL_RL})
        for n, row in enumerate(rows)
    )


def load_bfcl_calls(path: Path, answers: Path) -> tuple[BfclCallRow, ...]:
    """The rows of a single-turn category, such as `BFCL_v4_multiple.json`, that one call answers.

    Raises:
        DataError: not readable, a field is missing, or a question has no answer or several calls.
    """
    wanted = {row["id"]: row for row in _lines(answers)}
    found = []
    for row in _lines(path):
        where = f"{path}, {row['id']}"
        truth = _field(wanted.get(row["id"], {}), "ground_truth", list, f"{answers}, {row['id']}")
        if len(truth) != 1:
            raise DataError(f"{where}: the answer has {len(truth)} calls, expected one")
        made = BfclCallRow(
            id=row["id"],
            question=_field(row, "question", list, where)[0][-1]["content"],
            functions=tuple(_field(row, "function", list, where)),
            answer=truth[0],
        )
        if not {each["name"] for each in made.functions} >= set(made.answer):
            raise DataError(
                f"{where}: the answer calls {sorted(made.answer)}, which is not offered"
            )
        found.append(made)
    return tuple(found)


def load_bfcl_dialogues(
    path: Path, answers: Path, names: Mapping[str, Sequence[str]]
) -> tuple[BfclDialogue, ...]:
    """The entries of `BFCL_v4_multi_turn_base.json` with their gold calls.

    Args:
        path: the questions.
        answers: the gold calls.
        names: as `parameter_names` gives them; some gold calls have arguments without a name.

    Raises:
        DataError: not readable, a field is missing, a gold call cannot be read.
    """
    wanted = {row["id"]: row for row in _lines(answers)}
    found = []
    for row in _lines(path):
        where = f"{path}, {row['id']}"
        truth = _field(wanted.get(row["id"], {}), "ground_truth", list, f"{answers}, {row['id']}")
        found.append(
            BfclDialogue(
                id=row["id"],
                questions=tuple(
                    "\n".join(message["content"] for message in turn)
                    for turn in _field(row, "question", list, where)
                ),
                gold_calls=tuple(tuple(parse_call(text, names) for text in turn) for turn in truth),
                initial_config=_field(row, "initial_config", dict, where),
                classes=tuple(_field(row, "involved_classes", list, where)),
                excluded=tuple(row.get("excluded_function", ())),
            )
        )
    return tuple(found)


def parameter_names(folder: Path) -> dict[str, tuple[str, ...]]:
    """Tool -> its parameters in order, from every file of `multi_turn_func_doc`.

    Raises:
        DataError: a file cannot be read.
    """
    return {
        row["name"]: tuple(row["parameters"]["properties"])
        for path in sorted(folder.glob("*.json"))
        for row in _lines(path, key="name")
    }


_TOOL_RL = ("instruction", "input", "output")


def _lines(path: Path, key: str = "id") -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file, each with a string under `key`."""
    for number, line in enumerate(_text(path).splitlines(), 1):
        if line.strip():
            row = _json(path, line, number)
            _field(row, key, str, f"{path}, line {number}")
            yield row


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def _json(path: Path, text: str, line: int | None = None) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        place = path if line is None else f"{path}, line {line}"
        raise DataError(f"{place} is no JSON: {error}") from error


def _field(row: Any, key: str, kind: type, where: str) -> Any:
    value = row.get(key) if isinstance(row, dict) else None
    if not isinstance(value, kind):
        raise DataError(f"{where}: {key!r} is {type(value).__name__}, expected {kind.__name__}")
    return value
