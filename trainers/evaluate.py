"""Evaluation: success and outcome of an agent on held-out tasks, with intervals and status counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from turngym.envs.env import TextEnv
from turngym.errors import NotTheAgentsFault
from turngym.seeding import derive
from turngym.trainers.intervals import (
    Interval,
    clustered_mean,
    clustered_share,
    pass_at,
    pass_hat,
)
from turngym.trainers.rollout import Group, RolloutConfig, rollout
from turngym.types import Agent, Sampling, Trajectory

__all__ = ["Evaluation", "PassRate", "evaluate", "pass_rates", "summarize"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRate:
    """Several attempts at each task."""

    k: int
    tasks: int
    """With at least k counted attempts; the others say nothing about k."""
    at: Interval
    """pass@k: at least one of k attempts is solved."""
    hat: Interval
    """pass^k: all k attempts are solved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What an agent did on a set of tasks. Failures that are not its own are counted apart."""

    episodes: int
    counted: int
    """Episodes that ended through the agent's own doing."""
    tasks: int
    """Tasks with a counted episode."""
    success: Interval
    """Share of counted episodes that were solved (Wilson interval over tasks)."""
    outcome: Interval
    """Mean outcome of counted episodes (normal interval over tasks)."""
    turns: float
    """Mean turns per counted episode."""
    statuses: Mapping[str, int]
    passes: tuple[PassRate, ...] = ()
    """For k = 2, 4, 8, ... and the number of attempts, where there is more than one."""


def evaluate(
    make_env: Callable[[], TextEnv],
    agent: Agent,
    *,
    split: str,
    episodes: int,
    sampling: Sampling,
    attempts: int = 1,
    seed: int = 0,
    config: RolloutConfig | None = None,
    on_episode: Callable[[Trajectory], None] | None = None,
) -> Evaluation:
    """Play `episodes` tasks of `split`, `attempts` times each; the same ones for the same seed.

    The attempts at a task start from one state, each with noise of its own. An environment without
    task lists draws its tasks from seeds that training never uses.
    """
    tasks = make_env().tasks(split)
    groups = [
        Group(
            key=f"{split}-{index}",
            seed=derive(seed, "evaluation", split, index),
            size=attempts,
            task_id=task,
            split=split,
            sampling=sampling,
        )
        for index, task in enumerate(_choose(tasks, episodes))
    ]
    return summarize(rollout(make_env, agent, groups, config, on_episode=on_episode))


def summarize(trajectories: Iterable[Trajectory]) -> Evaluation:
    """Figures of played episodes.

    Raises:
        NotTheAgentsFault: episodes were played and not one can be counted; names the first error.
    """
    played = list(trajectories)
    counted = [t for t in played if t.status.counts]
    if played and not counted:
        raise NotTheAgentsFault(
            f"none of {len(played)} episodes can be counted; {played[0].episode} ended as "
            f"{played[0].status}: {played[0].error.strip().rpartition(chr(10))[2]}"
        )
    tasks: dict[str, list[Trajectory]] = {}
    for trajectory in counted:
        tasks.setdefault(trajectory.group, []).append(trajectory)
    solved = [[float(bool(t.success)) for t in attempts] for attempts in tasks.values()]
    return Evaluation(
        episodes=len(played),
        counted=len(counted),
        tasks=len(tasks),
        success=clustered_share(solved),
        outcome=clustered_mean([[t.outcome or 0.0 for t in group] for group in tasks.values()]),
        turns=sum(len(t.turns) for t in counted) / max(len(counted), 1),
        statuses=dict(sorted(Counter(t.status.value for t in played).items())),
        passes=pass_rates([(len(values), int(sum(values))) for values in solved]),
    )


def pass_rates(tasks: Sequence[tuple[int, int]]) -> tuple[PassRate, ...]:
    """pass@k and pass^k for k = 2, 4, 8, ... and the most attempts at a task.

    Args:
        tasks: attempts and solved ones of each task.
    """
    most = max((attempts for attempts, _ in tasks), default=0)
    rates = []
    for k in sorted({2**power for power in range(1, most.bit_length())} | {most}):
        enough = [task for task in tasks if task[0] >= k]
        if k < 2:
            continue
        total = sum(attempts for attempts, _ in enough)
        at, hat = (
            clustered_share([[estimate(k, *task)] for task in enough], total)
            for estimate in (pass_at, pass_hat)
        )
        rates.append(PassRate(k=k, tasks=len(enough), at=at, hat=hat))
    return tuple(rates)


def _choose(tasks: Sequence[str], count: int) -> list[str | None]:
    if not tasks:
        return [None] * count
    return list(tasks[:count])
