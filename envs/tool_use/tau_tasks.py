"""tau-bench's retail tasks from JSON, and as conversations: `Conversation(TauTasks(db, policy, tasks), user=agent)`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from turngym.envs.tool_use.conversation import ConversationTask, Ending
from turngym.envs.tool_use.tasks import Split, split_of
from turngym.envs.tool_use.tau_bench import TauTask, gold_hash, score
from turngym.envs.tool_use.tau_retail import RETAIL
from turngym.envs.tool_use.tools import State, call_all
from turngym.errors import DataError, UnknownNameError
from turngym.types import ToolCall

__all__ = ["TauTasks", "load_tau_tasks"]


def load_tau_tasks(path: Path) -> dict[str, TauTask]:
    """Tasks by id from a JSON list, or an object with a list `tasks`.

    A row has `user_id`, `instruction`, `actions` (or `gold_actions`) with `name` and `kwargs`, perhaps
    `outputs` and `task_id`; without one it is numbered.

    Raises:
        DataError: not readable, or a row lacks what it needs; names the row.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    rows = rows.get("tasks") if isinstance(rows, dict) else rows
    if not isinstance(rows, list):
        raise DataError(f"{path} holds no list of tasks")
    found: dict[str, TauTask] = {}
    for number, row in enumerate(rows):
        try:
            found[str(row.get("task_id", number))] = _task(row)
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}, task {number}: {type(error).__name__}: {error}") from error
    return found


class TauTasks:
    """Retail tasks as conversations; a split follows from the id.

    Args:
        db: as `load_retail` gives it.
        policy: the text for the agent.
        tasks: as `load_tau_tasks` gives them.
    """

    def __init__(self, db: State, policy: str, tasks: Mapping[str, TauTask]) -> None:
        self._db, self._policy, self._tasks = db, policy, tasks

    def ids(self, split: Split) -> Sequence[str]:
        """The tasks of a split."""
        return tuple(key for key in self._tasks if split_of(key) == split)

    def find(self, task_id: str) -> ConversationTask:
        """The task of an id.

        Raises:
            UnknownNameError: there is none.
        """
        if task_id not in self._tasks:
            raise UnknownNameError("task", task_id, list(self._tasks)[:20])
        task = self._tasks[task_id]
        return ConversationTask(
            task_id=task_id,
            split=split_of(task_id),
            policy=self._policy,
            scenario=task.instruction,
            state=self._db,
            toolbox=RETAIL,
            references=task.outputs,
            score=partial(self._score, task),
        )

    def _score(self, task: TauTask, ending: Ending) -> tuple[float, dict[str, float]]:
        end, _ = call_all(self._db, ((RETAIL, each.call) for each in ending.calls))
        got = score(end, ending.replies, task, gold_hash(self._db, task))
        told = float(all(got.outputs.values()))
        return got.reward, {"state": float(got.state_equal), "outputs": told}


def _task(row: Mapping[str, Any]) -> TauTask:
    actions = row["gold_actions"] if "gold_actions" in row else row["actions"]
    return TauTask(
        user_id=row["user_id"],
        instruction=row["instruction"],
        actions=tuple(
            ToolCall(id=f"gold_{n}", name=each["name"], arguments=each["kwargs"])
            for n, each in enumerate(actions)
        ),
        outputs=tuple(row.get("outputs") or ()),
    )
