"""Which tasks a step plays: a pure function of settings and step, so that resuming needs no state."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from turngym.seeding import derive
from turngym.trainers.config import TrainConfig
from turngym.trainers.rollout import Group
from turngym.types import Trajectory

__all__ = ["mixed", "plan", "refill"]


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
        groups.append(_group(config, step, index, task))
    return groups


def refill(
    config: TrainConfig, tasks: Sequence[str], step: int, attempt: int, count: int
) -> list[Group]:
    """`count` more groups for round `attempt` (from 1) of a step, of tasks drawn at random."""
    groups = []
    for index in range(config.groups_per_step * attempt, config.groups_per_step * attempt + count):
        draw = random.Random(derive(config.seed, "refill", step, index))
        groups.append(_group(config, step, index, draw.choice(tasks) if tasks else None))
    return groups


def mixed(trajectories: Iterable[Trajectory]) -> set[str]:
    """The groups in which two trajectories that count have different outcomes."""
    outcomes: dict[str, set[float]] = {}
    for trajectory in trajectories:
        if trajectory.status.counts:
            outcomes.setdefault(trajectory.group, set()).add(trajectory.outcome or 0.0)
    return {group for group, found in outcomes.items() if len(found) > 1}


def _group(config: TrainConfig, step: int, index: int, task: str | None) -> Group:
    return Group(
        key=f"{step}/{index}",
        seed=derive(config.seed, "group", step, index),
        size=config.group_size,
        task_id=task,
        sampling=config.sampling.sampling(),
    )
