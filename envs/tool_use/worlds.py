"""The bundled worlds by name."""

from __future__ import annotations

from turngym.envs.tool_use.clinic import CLINIC
from turngym.envs.tool_use.library import LIBRARY
from turngym.envs.tool_use.tasks import Task, World
from turngym.errors import UnknownNameError

__all__ = ["WORLDS", "find_task"]

WORLDS: dict[str, World] = {world.name: world for world in (CLINIC, LIBRARY)}


def find_task(task_id: str) -> tuple[World, Task]:
    """The world and the task of an id such as `library/fee/7`.

    Raises:
        UnknownNameError: there is none.
    """
    name = task_id.partition("/")[0]
    if name not in WORLDS:
        raise UnknownNameError("task", task_id, (f"{world}/..." for world in WORLDS))
    return WORLDS[name], WORLDS[name].task(task_id)
