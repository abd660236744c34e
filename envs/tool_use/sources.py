"""Where tasks come from: the bundled worlds, or a file of dialogues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from turngym.envs.tool_use.settings import ToolUseSettings
from turngym.envs.tool_use.tasks import Split, Task, World
from turngym.envs.tool_use.worlds import find_task, is_offered, task_ids
from turngym.errors import UnknownNameError

__all__ = ["BundledTasks", "TaskSource"]


class TaskSource(Protocol):
    """Tasks by id; the same in every process, and shared by all forks of an environment."""

    def ids(self, split: Split) -> Sequence[str]:
        """The tasks of a split, in order."""
        ...

    def find(self, task_id: str) -> tuple[World, Task]:
        """The world and the task of an id.

        Raises:
            UnknownNameError: there is none.
        """
        ...


class BundledTasks:
    """The tasks of the bundled worlds that the settings ask for."""

    def __init__(self, settings: ToolUseSettings) -> None:
        self._settings = settings

    def ids(self, split: Split) -> Sequence[str]:
        """The tasks of a split."""
        shown = self._settings
        return task_ids(shown.worlds, split, shown.tasks_per_template, shown.brief)

    def find(self, task_id: str) -> tuple[World, Task]:
        """The world and the task of an id.

        Raises:
            UnknownNameError: there is none, or the settings leave it out.
        """
        world, task = find_task(task_id)
        shown = self._settings
        if not is_offered(task_id, shown.worlds, shown.tasks_per_template, shown.brief):
            raise UnknownNameError("task", task_id, self.ids(task.split)[:20], "See env.tasks.")
        return world, task
