"""Learning curves with bands, from what a run left behind."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from turngym.report.folder import RunFolder, Stage
from turngym.report.intervals import mean_interval
from turngym.trainers.intervals import Interval, clustered_mean, clustered_share
from turngym.types import Trajectory

__all__ = ["Curve", "curves", "merge", "points_of", "smooth"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One quantity by step. Absent points are None."""

    name: str
    x: tuple[int, ...]
    """Steps done, from 1."""
    y: tuple[float | None, ...]
    low: tuple[float | None, ...] = ()
    """Lower end of the band; empty without one."""
    high: tuple[float | None, ...] = ()


PER_EPISODE: Mapping[str, Callable[[Trajectory], float]] = {
    "outcome": lambda t: t.outcome or 0.0,
    "turn reward": lambda t: math.fsum(u.reward or 0.0 for u in t.turns),
    "turns": lambda t: float(len(t.turns)),
    "reply tokens": lambda t: float(t.num_reply_tokens),
}

MAX_NAMED = 12
"""Named parts of rewards that get a curve of their own."""

FROM_METRICS = {
    "entropy": "entropy",
    "KL to the sampler": "kl_old",
    "KL to the reference": "kl_reference",
    "clip fraction": "clip_fraction",
    "invalid actions": "invalid_actions",
}


def curves(run: RunFolder, *, bands: bool = True) -> list[Curve]:
    """Every curve of a run, in the order in which a reader wants them.

    Bands are 95 % intervals over the tasks of a step, whose attempts belong together
    (`trainers.intervals`). They need every trajectory to be read; without `bands` or without
    trajectories the means of metrics.jsonl have to do.
    """
    rows = run.metrics
    found = _by_episode(run) if bands else []
    if not found and rows:
        found = [_metric(name, name, run) for name in ("success", "outcome", "turns")]
    found += [_metric(name, key, run) for name, key in FROM_METRICS.items()]
    found += [_plain(name, run) for name in ("loss", "grad_norm", "learning_rate")]
    found.append(_rate(run))
    statuses = sorted({key for row in rows for key in row["metrics"] if key.startswith("status/")})
    found += [_metric(f"ended {key.removeprefix('status/')}", key, run, 0.0) for key in statuses]
    return [curve for curve in found if any(value is not None for value in curve.y)]


def merge(runs: Sequence[Sequence[Curve]]) -> list[Curve]:
    """The mean over runs of each curve, with a 95 % band by Student's t, where all have it."""
    by_name: dict[str, list[Curve]] = defaultdict(list)
    for run in runs:
        for curve in run:
            by_name[curve.name].append(curve)
    merged = []
    for name, group in by_name.items():
        if len(group) < len(runs):
            continue
        tables = [dict(zip(curve.x, curve.y, strict=True)) for curve in group]
        steps = sorted(set(tables[0]).intersection(*tables[1:]))
        points = [(x, [table[x] for table in tables]) for x in steps]
        sound = [(x, [v for v in values if v is not None]) for x, values in points]
        sound = [(x, values) for x, values in sound if len(values) == len(runs)]
        merged.append(_with_band(name, [(x, mean_interval(values)) for x, values in sound]))
    return merged


def smooth(values: Sequence[float | None], width: int) -> list[float | None]:
    """Means of the last `width` values that are there."""
    done: list[float | None] = []
    for index in range(len(values)):
        window = [v for v in values[max(0, index - width + 1) : index + 1] if v is not None]
        done.append(sum(window) / len(window) if window else None)
    return done


def points_of(run: RunFolder, stage: Stage) -> Mapping[str, Interval]:
    """The step's figures over its episodes that count, by curve; empty where none does."""
    return run.derived(stage, "points", lambda: _points(run.trajectories(stage)))


def _points(trajectories: Sequence[Trajectory]) -> dict[str, Interval]:
    groups: dict[str, list[Trajectory]] = defaultdict(list)
    for trajectory in trajectories:
        if trajectory.status.counts:
            groups[trajectory.group].append(trajectory)
    if not groups:
        return {}
    solved = [[float(bool(t.success)) for t in members] for members in groups.values()]
    points = {"success": clustered_share(solved)}
    for name, measure in PER_EPISODE.items():
        values = [[measure(t) for t in members] for members in groups.values()]
        points[name] = clustered_mean(values)
    if all(u.reward is None for members in groups.values() for t in members for u in t.turns):
        del points["turn reward"]
    return {**points, **_named(list(groups.values()))}


def _named(groups: Sequence[Sequence[Trajectory]]) -> dict[str, Interval]:
    """The named parts of the reward, summed over the turns of an episode."""
    sums = [[_named_sums(trajectory) for trajectory in members] for members in groups]
    names = sorted({name for members in sums for each in members for name in each})
    return {
        f"reward {name}": clustered_mean([[each.get(name, 0.0) for each in g] for g in sums])
        for name in names[:MAX_NAMED]
    }


def _named_sums(trajectory: Trajectory) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for named in (trajectory.rewards, *(turn.rewards for turn in trajectory.turns)):
        for name, value in named.items():
            sums[name] += value
    return sums


def _by_episode(run: RunFolder) -> list[Curve]:
    series: dict[str, list[tuple[int, Interval]]] = defaultdict(list)
    finished = {row["step"] for row in run.metrics}
    for stage in run.stages():
        if stage.kind == "training" and stage.step in finished:
            for name, point in points_of(run, stage).items():
                series[name].append((stage.step + 1, point))
    return [_with_band(name, points) for name, points in series.items()]


def _with_band(name: str, series: Sequence[tuple[int, Interval]]) -> Curve:
    return Curve(
        name=name,
        x=tuple(x for x, _ in series),
        y=tuple(each.value for _, each in series),
        low=tuple(_finite(each.low) for _, each in series),
        high=tuple(_finite(each.high) for _, each in series),
    )


def _metric(name: str, key: str, run: RunFolder, absent: float | None = None) -> Curve:
    rows = run.metrics
    return Curve(
        name=name,
        x=tuple(row["step"] + 1 for row in rows),
        y=tuple(row["metrics"].get(key, absent) for row in rows),
    )


def _plain(name: str, run: RunFolder) -> Curve:
    rows = run.metrics
    x = tuple(row["step"] + 1 for row in rows)
    return Curve(name=name.replace("_", " "), x=x, y=tuple(row.get(name) for row in rows))


def _rate(run: RunFolder) -> Curve:
    """Tokens of the batch, prompts included, per second of rollout and update."""
    seconds = {
        row["step"]: sum(v for k, v in row.items() if k != "step" and isinstance(v, float))
        for row in run.timings
    }
    rows = [row for row in run.metrics if seconds.get(row["step"])]
    return Curve(
        name="tokens per second",
        x=tuple(row["step"] + 1 for row in rows),
        y=tuple(row["num_tokens"] / seconds[row["step"]] for row in rows),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
