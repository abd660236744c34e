"""Evaluation: success and outcome of an agent on held-out tasks, with intervals and status counts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from turngym.envs.env import TextEnv
from turngym.errors import NotTheAgentsFault
from turngym.seeding import derive
from turngym.trainers.rollout import Group, RolloutConfig, rollout
from turngym.types import Agent, Sampling, Trajectory

__all__ = ["Evaluation", "Interval", "evaluate", "summarize", "wilson"]

Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What an agent did on a set of tasks. Failures that are not its own are counted apart."""

    episodes: int
    counted: int
    """Episodes that ended through the agent's own doing."""
    success: Interval
    """Share of counted episodes that were solved (Wilson interval)."""
    outcome: Interval
    """Mean outcome of counted episodes (normal interval)."""
    turns: float
    """Mean turns per counted episode."""
    statuses: Mapping[str, int]


def evaluate(
    make_env: Callable[[], TextEnv],
    agent: Agent,
    *,
    split: str,
    episodes: int,
    sampling: Sampling,
    seed: int = 0,
    config: RolloutConfig | None = None,
    on_episode: Callable[[Trajectory], None] | None = None,
) -> Evaluation:
    """Play `episodes` tasks of `split` once each, always the same ones for the same seed.

    An environment without task lists draws its tasks from seeds that training never uses.
    """
    tasks = make_env().tasks(split)
    groups = [
        Group(
            key=f"{split}-{index}",
            seed=derive(seed, "evaluation", split, index),
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
    outcomes = [t.outcome or 0.0 for t in counted]
    return Evaluation(
        episodes=len(played),
        counted=len(counted),
        success=wilson(sum(bool(t.success) for t in counted), len(counted)),
        outcome=_normal(outcomes),
        turns=sum(len(t.turns) for t in counted) / max(len(counted), 1),
        statuses=dict(sorted(Counter(t.status.value for t in played).items())),
    )


def wilson(successes: int, trials: int) -> Interval:
    """95 % interval of a share by Wilson's score method (JASA 22, 1927); 0 to 1 without trials."""
    if trials == 0:
        return Interval(value=math.nan, low=0.0, high=1.0)
    share = successes / trials
    spread = Z95**2 / trials
    middle = (share + spread / 2) / (1 + spread)
    half = Z95 * math.sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    return Interval(value=share, low=max(middle - half, 0.0), high=min(middle + half, 1.0))


def _normal(values: Sequence[float]) -> Interval:
    if len(values) < 2:
        value = values[0] if values else math.nan
        return Interval(value=value, low=-math.inf, high=math.inf)
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    half = Z95 * math.sqrt(variance / len(values))
    return Interval(value=mean, low=mean - half, high=mean + half)


def _choose(tasks: Sequence[str], count: int) -> list[str | None]:
    if not tasks:
        return [None] * count
    return list(tasks[:count])
