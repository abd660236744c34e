"""Two runs: what was set otherwise, what came out, and which tasks changed hands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from turngym.report.folder import RunFolder, Stage
from turngym.report.intervals import mean_interval, sign_test
from turngym.trainers.intervals import Interval, clustered_mean, clustered_share
from turngym.types import Trajectory

__all__ = ["Comparison", "Difference", "StageComparison", "compare", "differences"]


Attempt = tuple[str, int]
"""A task and how often it was played before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A setting that is not the same in both runs; absent ones are None."""

    key: str
    a: Any
    b: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class StageComparison:
    """One evaluation that both runs made."""

    label: str
    tasks: int
    """Played and counted in both."""
    success: tuple[Interval, Interval]
    """Of each run over its counted episodes (Wilson, over tasks)."""
    outcome: tuple[Interval, Interval]
    gain: Interval
    """Mean over the common tasks of outcome in B less outcome in A, paired."""
    wins: tuple[str, ...]
    """Tasks that B solves and A does not."""
    losses: tuple[str, ...]
    """Tasks that A solves and B does not."""
    p_value: float
    """Of so uneven a split, were both equally good (exact sign test)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that tells two runs apart."""

    settings: tuple[Difference, ...]
    training: Mapping[str, tuple[Interval, Interval]]
    """Means over the last tenth of the common steps, by metric, with intervals over steps."""
    stages: tuple[StageComparison, ...]


def compare(a: RunFolder, b: RunFolder) -> Comparison:
    """Compare two runs, or two files of trajectories."""
    return Comparison(
        settings=tuple(differences(a.config, b.config)),
        training=_training(a.metrics, b.metrics),
        stages=tuple(
            _stage(label, a.trajectories(one), b.trajectories(two))
            for label, one, two in _common(a.stages(), b.stages())
        ),
    )


def differences(a: Mapping[str, Any], b: Mapping[str, Any], where: str = "") -> list[Difference]:
    """The leaves of two nested mappings that are not equal, in alphabetical order."""
    found = []
    for key in sorted({*a, *b}):
        left, right = a.get(key), b.get(key)
        path = f"{where}.{key}".lstrip(".")
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += differences(left, right, path)
        elif left != right:
            found.append(Difference(key=path, a=left, b=right))
    return found


def _common(a: Sequence[Stage], b: Sequence[Stage]) -> list[tuple[str, Stage, Stage]]:
    """Evaluations that both made, by label; `after` may follow another number of steps."""
    if [stage.kind for stage in (*a, *b)] == ["file", "file"]:
        return [("episodes", a[0], b[0])]
    left = {stage.label: stage for stage in a if stage.kind == "evaluation"}
    right = {stage.label: stage for stage in b if stage.kind == "evaluation"}
    return [(label, stage, right[label]) for label, stage in left.items() if label in right]


def _stage(label: str, a: Sequence[Trajectory], b: Sequence[Trajectory]) -> StageComparison:
    left, right = _counted(a), _counted(b)
    # A task may be played more than once: the n-th time is compared with the n-th time.
    common = [key for key in left if key in right]
    gains = [(right[key].outcome or 0.0) - (left[key].outcome or 0.0) for key in common]
    wins = tuple(k[0] for k in common if right[k].success and not left[k].success)
    losses = tuple(k[0] for k in common if left[k].success and not right[k].success)
    return StageComparison(
        label=label,
        tasks=len(common),
        success=(_success(left), _success(right)),
        outcome=(_outcome(left), _outcome(right)),
        gain=clustered_mean(_by_task(dict(zip(common, gains, strict=True)))),
        wins=wins,
        losses=losses,
        p_value=sign_test(len(wins), len(losses)),
    )


def _counted(trajectories: Sequence[Trajectory]) -> dict[Attempt, Trajectory]:
    found: dict[Attempt, Trajectory] = {}
    times: dict[str, int] = {}
    for trajectory in sorted(trajectories, key=lambda t: t.episode):
        task = trajectory.task_id or trajectory.episode
        number = times[task] = times.get(task, -1) + 1
        if trajectory.status.counts:
            found[task, number] = trajectory
    return found


def _success(played: Mapping[Attempt, Trajectory]) -> Interval:
    return clustered_share(_by_task({key: float(bool(t.success)) for key, t in played.items()}))


def _outcome(played: Mapping[Attempt, Trajectory]) -> Interval:
    return clustered_mean(_by_task({key: t.outcome or 0.0 for key, t in played.items()}))


def _by_task(values: Mapping[Attempt, float]) -> list[list[float]]:
    """Attempts at one task belong together."""
    tasks: dict[str, list[float]] = {}
    for (task, _), value in values.items():
        tasks.setdefault(task, []).append(value)
    return list(tasks.values())


def _training(
    a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]]
) -> dict[str, tuple[Interval, Interval]]:
    steps = min(len(a), len(b))
    if not steps:
        return {}
    tail = range(steps - max(steps // 10, 1), steps)
    names = ("success", "outcome", "turns", "reply_tokens", "entropy", "kl_old", "clip_fraction")
    return {
        name: (_tail(a, tail, name), _tail(b, tail, name))
        for name in names
        if all(name in run[step]["metrics"] for run in (a, b) for step in tail)
    }


def _tail(rows: Sequence[Mapping[str, Any]], steps: range, name: str) -> Interval:
    return mean_interval([rows[step]["metrics"][name] or 0.0 for step in steps])
