"""Which tasks a step plays: a pure function of settings and step, so that resuming needs no state."""

from __future__ import annotations

import random
from collections.abc import Sequence

from turngym.seeding import derive
from turngym.trainers.config import TrainConfig
from turngym.trainers.rollout import Group

__all__ = ["plan"]


def plan(config: TrainConfig, tasks: Sequence[str], step: int) -> list[Group]:
    """The groups of one step: tasks in a new random order each epoch, or drawn from seeds alone."""
    groups = []
    for index in range(config.groups_per_step):
        task = None
        if tasks:
            epoch, place = divmod(step * config.groups_per_step + index, len(tasks))
            order = list(range(len(tasks)))
            random.Random(derive(config.seed, "tasks", epoch)).shuffle(order)
            task = tasks[order[place]]
        groups.append(
            Group(
                key=f"{step}/{index}",
                seed=derive(config.seed, "group", step, index),
                size=config.group_size,
                task_id=task,
                sampling=config.sampling.sampling(),
            )
        )
    return groups
