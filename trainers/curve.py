"""The learning curve of a run as a picture."""

from __future__ import annotations

import json
from pathlib import Path

from turngym.errors import DataError, MissingExtraError

__all__ = ["draw_curve"]

# Okabe-Ito: told apart by colour-blind readers and in grey print.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#767676"


def draw_curve(run: Path, target: Path) -> Path:
    """Write a PNG or SVG: training success and outcome by step, held-out success with intervals.

    Raises:
        DataError: the folder has no finished step.
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "plot") from error
    steps = _read(run / "metrics.jsonl")
    if not steps:
        raise DataError(f"{run} has no finished step to draw")
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    at = [row["step"] + 1 for row in steps]
    for name, colour, style in (("success", BLUE, "-"), ("outcome", GREY, "--")):
        values = _smooth([row["metrics"][name] for row in steps])
        axes.plot(at, values, style, color=colour, label=f"training {name} (10-step mean)")
    labelled = False
    for row in _read(run / "evaluations.jsonl"):
        if not row["label"].endswith("-1"):
            continue
        found = row["success"]
        spread = [[found["value"] - found["low"]], [found["high"] - found["value"]]]
        axes.errorbar(
            [row["step"]],
            [found["value"]],
            yerr=spread,
            fmt="o",
            color=ORANGE,
            capsize=4,
            label=None if labelled else "held-out success, 95 % interval",
        )
        labelled = True
    axes.set(xlabel="training step", ylabel="share of episodes / outcome", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(target, dpi=150)
    return target


def _smooth(values: list[float], width: int = 10) -> list[float]:
    windows = [values[max(0, i - width + 1) : i + 1] for i in range(len(values))]
    return [sum(window) / len(window) for window in windows]


def _read(path: Path) -> list[dict]:  # type: ignore[type-arg]
    if not path.exists():
        return []
    return [json.loads(row) for row in path.read_text(encoding="utf-8").split("\n")[:-1]]
