"""Files of reference dialogues with tools and checklists, in CM2's form: JSON lines of

    {"uuid": ..., "messages": [...], "tools": [...], "checklists": [[[item, ...], ...]]}

The user says what he says in the reference, the tools answer as recorded there (or are simulated), and the
checklist, one list of items per user message, decides what a turn is worth and whether the user goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from turngym.envs.tool_use.simulated import RecordedCall, SimulatedTools
from turngym.envs.tool_use.tasks import Request, Split, Task, World, split_of
from turngym.errors import DataError, UnknownNameError
from turngym.rewards.tool_checklist import DialogueChecklist, checklist_from_json
from turngym.types import Agent, ToolCall, assistant

__all__ = ["DialogueFile", "cm2_checklist", "recorded_calls"]


class DialogueFile:
    """The dialogues of a file as tasks of `ToolUse(tasks=...)`.

    A dialogue's split follows from its id: six of ten are train, two dev, two test.

    Args:
        path: JSON lines.
        simulator: makes up answers of tools that were not recorded; None: such a call ends the episode
            with status `simulator_error`.
        annotation: which of a dialogue's checklists counts, where it was annotated several times.

    Raises:
        DataError: a line cannot be read; names file and line.
    """

    def __init__(
        self, path: Path | str, *, simulator: Agent | None = None, annotation: int = 0
    ) -> None:
        self._found: dict[str, tuple[World, Task]] = {}
        for number, line in enumerate(_lines(Path(path)), 1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            world, task = _dialogue(line, where, simulator, annotation)
            if task.task_id in self._found:
                raise DataError(f"{where}: the id {task.task_id!r} comes twice")
            self._found[task.task_id] = (world, task)

    def ids(self, split: Split) -> Sequence[str]:
        """The dialogues of a split."""
        return tuple(key for key, (_, task) in self._found.items() if task.split == split)

    def find(self, task_id: str) -> tuple[World, Task]:
        """The world and the task of an id.

        Raises:
            UnknownNameError: there is none.
        """
        if task_id not in self._found:
            raise UnknownNameError("dialogue", task_id, list(self._found)[:20])
        return self._found[task_id]


def cm2_checklist(rows: Any) -> DialogueChecklist:
    """The items of one annotation, one list per user message; items without a rule are judged.

    Raises:
        DataError: as `checklist_from_json`.
    """
    try:
        return checklist_from_json([[_item(each) for each in row] for row in rows])
    except (TypeError, AttributeError) as error:
        raise DataError(f"this is no checklist: {error}") from error


def recorded_calls(messages: Sequence[Mapping[str, Any]]) -> tuple[RecordedCall, ...]:
    """The calls of a dialogue with their answers, by id or, where there is none, in order.

    Raises:
        DataError: a call cannot be read.
    """
    found: list[RecordedCall] = []
    waiting: list[ToolCall] = []
    for message in messages:
        waiting += [_call(each) for each in message.get("tool_calls") or ()]
        if message.get("role") == "tool" and waiting:
            wanted = message.get("tool_call_id")
            place = next((n for n, each in enumerate(waiting) if each.id == wanted), 0)
            answer = str(message.get("content") or "")
            found.append(RecordedCall(call=waiting.pop(place), answer=answer))
    return tuple(found)


def _dialogue(
    line: str, where: str, simulator: Agent | None, annotation: int
) -> tuple[World, Task]:
    try:
        row = json.loads(line)
        key, messages, tools = str(row["uuid"]), list(row["messages"]), list(row["tools"])
        checklist = cm2_checklist(row["checklists"][annotation])
        said = [each["content"] for each in messages if each["role"] == "user"]
        rules = next((each["content"] for each in messages if each["role"] == "system"), "")
        recorded = recorded_calls(messages)
        reference = tuple(
            assistant(each.get("content") or "", [_call(c) for c in each.get("tool_calls") or ()])
            for each in messages
            if each["role"] == "assistant"
        )
        toolbox = SimulatedTools(tools, recorded, simulator)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{where}: {type(error).__name__}: {error}") from error
    if not said or len(said) < len(checklist):
        raise DataError(f"{where}: {len(checklist)} checklists for {len(said)} user messages")
    padded = (*checklist, *((),) * (len(said) - len(checklist)))
    requests = tuple(
        Request(opening=text, items=items, asks=False)
        for text, items in zip(said, padded, strict=True)
    )
    task = Task(
        split=split_of(key),
        state={},
        requests=requests,
        gold_calls=tuple(each.call for each in recorded),
        reference=reference,
        task_id=key,
    )
    return World(name=key, policy=rules, brief=rules, toolbox=toolbox), task


def _item(row: Mapping[str, Any]) -> dict[str, Any]:
    evidence = [
        {("source" if name == "from" else name): value for name, value in each.items()}
        for each in row.get("evidence") or ()
    ]
    return {"check": {"kind": "judged"}, **row, "evidence": evidence}


def _call(row: Mapping[str, Any]) -> ToolCall:
    inner = row.get("function", row)
    arguments = inner.get("arguments") or {}
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    return ToolCall(id=str(row.get("id", "")), name=inner["name"], arguments=arguments)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
