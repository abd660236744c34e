"""Tiny tasks of our own: one small module each, one bug, hidden tests."""

from functools import cache

from turngym.envs.swe.bundled import collections_, numbers_, texts
from turngym.envs.swe.bundled.seed import IMAGE, Tiny
from turngym.envs.swe.tasks import Task

__all__ = ["IMAGE", "bundled_tasks"]


@cache
def bundled_tasks() -> tuple[Task, ...]:
    """All bundled tasks, in a fixed order; they need only the base image."""
    tiny: tuple[Tiny, ...] = (*numbers_.TASKS, *texts.TASKS, *collections_.TASKS)
    return tuple(item.task() for item in tiny)
