"""The bundled worlds by name."""

from __future__ import annotations

import functools

from turngym.envs.tool_use.tasks import SPLITS, Split, Task, World
from turngym.envs.tool_use.worlds.bank import BANK
from turngym.envs.tool_use.worlds.clinic import CLINIC
from turngym.envs.tool_use.worlds.hotel import HOTEL
from turngym.envs.tool_use.worlds.library import LIBRARY
from turngym.errors import UnknownNameError

__all__ = ["WORLDS", "find_task", "is_offered", "task_ids"]

WORLDS: dict[str, World] = {world.name: world for world in (BANK, CLINIC, HOTEL, LIBRARY)}


def find_task(task_id: str) -> tuple[World, Task]:
    """The world and the task of an id such as `library/fee/7`.

    Raises:
        UnknownNameError: there is none.
    """
    name = task_id.partition("/")[0]
    if name not in WORLDS:
        raise UnknownNameError("task", task_id, (f"{world}/..." for world in WORLDS))
    return WORLDS[name], WORLDS[name].task(task_id)


@functools.lru_cache(maxsize=64)
def task_ids(
    worlds: tuple[str, ...], split: Split, per_template: int, brief: bool
) -> tuple[str, ...]:
    """Ids of the tasks of a split in some worlds; see `World.tasks`."""
    return tuple(
        task_id for name in worlds for task_id in WORLDS[name].tasks(split, per_template, brief)
    )


def is_offered(task_id: str, worlds: tuple[str, ...], per_template: int, brief: bool) -> bool:
    """Whether a task is among those of any split."""
    return task_id in _offered(worlds, per_template, brief)


@functools.lru_cache(maxsize=16)
def _offered(worlds: tuple[str, ...], per_template: int, brief: bool) -> frozenset[str]:
    return frozenset(
        each for split in SPLITS for each in task_ids(worlds, split, per_template, brief)
    )
