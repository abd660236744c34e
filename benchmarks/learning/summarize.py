"""One table and one figure out of the finished runs of benchmarks/learning/run.py.

    python benchmarks/learning/summarize.py

Prints the table of docs/learning.md and draws docs/img/learning.png. Methods are compared at the
same number of sampled tokens: the smallest that any run of the environment spent. Differences are
paired by seed: runs of a seed begin with the same policy and are examined on the same episodes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from jobs import ENVIRONMENTS, METHODS, SEEDS

from turngym.report.intervals import mean_interval
from turngym.trainers.intervals import Interval

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "learning"
GOALS = (0.6, 0.8)
# Okabe-Ito, and a line style each, so that grey print tells them apart, too.
STYLES = {
    "grpo": ("#000000", "-"),
    "gigpo": ("#E69F00", "--"),
    "mapo": ("#0072B2", "-"),
    "a2tgpo": ("#009E73", "-."),
    "oprl": ("#CC79A7", "--"),
    "spa": ("#D55E00", ":"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Held-out success of one run over sampled tokens."""

    tokens: tuple[int, ...]
    episodes: tuple[int, ...]
    success: tuple[float, ...]
    cpu_seconds: float | None
    """Not taken of the first runs."""

    def at(self, tokens: float) -> float:
        """Success after so many tokens, straight lines between evaluations."""
        return _interpolated(self.tokens, self.success, tokens)

    def episodes_to(self, goal: float) -> float:
        """Episodes until the curve first reaches `goal`; infinite if it never does."""
        points = list(zip(self.episodes, self.success, strict=True))
        for (e0, s0), (e1, s1) in zip(points, points[1:], strict=False):
            if s1 >= goal:
                return e0 + (e1 - e0) * max(goal - s0, 0.0) / (s1 - s0) if s1 > s0 else e0
        return math.inf


def read(environment: str, method: str) -> dict[int, Curve]:
    """The finished runs by their seeds."""
    curves = {}
    for seed in SEEDS:
        path = RESULTS / environment / f"{method}-{seed}.json"
        data = json.loads(path.read_text()) if path.exists() else {}
        if "held_out" in data:
            rows = data["held_out"]
            curves[seed] = Curve(
                tokens=tuple(row["tokens"] for row in rows),
                episodes=tuple(row["episodes"] for row in rows),
                success=tuple(row["success"] for row in rows),
                cpu_seconds=data.get("cpu_seconds"),
            )
    return curves


def table(environment: str) -> str:
    """Markdown: a line per method."""
    runs = {method: read(environment, method) for method in METHODS}
    budget = min(curve.tokens[-1] for curves in runs.values() for curve in curves.values())
    start = mean(curve.success[0] for curve in runs["grpo"].values())
    lines = [
        f"`{environment}`, at {budget:,} sampled tokens (start: {start:.2f}):",
        "",
        "| method | seeds | held-out success | minus grpo | "
        + " | ".join(f"episodes to {goal}" for goal in GOALS)
        + " | CPU seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for method, curves in runs.items():
        if not curves:
            lines.append(f"| {method} | 0 | refused | | | | |")
            continue
        at = {seed: curve.at(budget) for seed, curve in curves.items()}
        base = {seed: curve.at(budget) for seed, curve in runs["grpo"].items() if seed in at}
        apart = mean_interval([at[seed] - base[seed] for seed in base])
        spent = [each.cpu_seconds for each in curves.values() if each.cpu_seconds is not None]
        cells = [
            method,
            str(len(curves)),
            shown(mean_interval(list(at.values()))),
            "" if method == "grpo" else shown(apart),
            *(needed(list(curves.values()), goal) for goal in GOALS),
            f"{median(spent):.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def needed(curves: Sequence[Curve], goal: float) -> str:
    """Median over the runs of the episodes to a success, and how many runs reached it."""
    episodes = [curve.episodes_to(goal) for curve in curves]
    reached = sum(math.isfinite(each) for each in episodes)
    middle = f"{median(episodes):,.0f}" if math.isfinite(median(episodes)) else "more"
    return f"{middle} ({reached} of {len(curves)})"


def shown(interval: Interval) -> str:
    """Mean over seeds with its 95 % interval by Student's t."""
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def draw(path: Path) -> None:
    """A panel per environment: mean over seeds, band from the lowest seed to the highest."""
    from matplotlib.figure import Figure

    shown = [e for e in ENVIRONMENTS if any(read(e, method) for method in METHODS)]
    figure = Figure(figsize=(5.2 * len(shown), 4.2), layout="constrained")
    for axes, environment in zip(
        figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True
    ):
        for method in METHODS:
            curves = list(read(environment, method).values())
            if not curves:
                continue
            colour, style = STYLES[method]
            end = min(curve.tokens[-1] for curve in curves)
            grid = [end * i / 100 for i in range(101)]
            values = [[curve.at(x) for curve in curves] for x in grid]
            axes.plot(grid, [mean(v) for v in values], style, color=colour, label=method)
            axes.fill_between(grid, [min(v) for v in values], [max(v) for v in values],
                              color=colour, alpha=0.1, linewidth=0)  # fmt: skip
        for goal in GOALS:
            axes.axhline(goal, color="#767676", linewidth=0.6)
        axes.set(title=environment, xlabel="sampled tokens", ylim=(0, 1))
        axes.grid(alpha=0.3)
    first = figure.axes[0]
    first.set_ylabel("held-out success, sampled")
    first.legend(loc="lower right", frameon=False, ncols=2)
    figure.savefig(path, dpi=130)


def _interpolated(xs: Sequence[float], ys: Sequence[float], at: float) -> float:
    for (x0, y0), (x1, y1) in zip(
        zip(xs, ys, strict=True), zip(xs[1:], ys[1:], strict=True), strict=False
    ):
        if at <= x1:
            return y0 + (y1 - y0) * (at - x0) / (x1 - x0)
    return ys[-1]


def main() -> None:
    for environment in ENVIRONMENTS:
        if any(read(environment, method) for method in METHODS):
            print(table(environment), end="\n\n")
    draw(ROOT / "docs" / "img" / "learning.png")


if __name__ == "__main__":
    main()
