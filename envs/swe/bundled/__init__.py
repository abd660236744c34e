"""Tasks of our own: ten tiny ones of one small module, and twenty that take some reading."""

from functools import cache
from typing import Literal

from turngym.envs.swe.bundled import collections_, numbers_, texts
from turngym.envs.swe.bundled.files import read_repositories
from turngym.envs.swe.bundled.seed import IMAGE, Tiny
from turngym.envs.swe.tasks import Task

__all__ = ["IMAGE", "bundled_tasks"]


@cache
def bundled_tasks(size: Literal["bundled", "tiny"] = "bundled") -> tuple[Task, ...]:
    """All bundled tasks (or the ten tiny ones), in a fixed order; they need only the base image."""
    tiny: tuple[Tiny, ...] = (*numbers_.TASKS, *texts.TASKS, *collections_.TASKS)
    small = tuple(item.task() for item in tiny)
    return small if size == "tiny" else (*small, *read_repositories())
