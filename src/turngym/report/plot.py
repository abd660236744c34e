"""Learning curves for papers: PNG, SVG or PDF, told apart by colour-blind readers and in grey."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from turngym.errors import DataError, MissingExtraError, UnknownNameError
from turngym.report.curves import Curve, curves, merge, smooth
from turngym.report.folder import RunFolder

__all__ = ["COLOURS", "DASHES", "draw_curves"]

# Okabe and Ito's palette without its yellow, which vanishes on paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
FORMATS = (".png", ".svg", ".pdf")
COLUMN_INCHES = 3.35
"""One column of a two-column page; text in the figure is then set at 8 points."""


def draw_curves(
    runs: Sequence[RunFolder],
    target: Path,
    *,
    names: Sequence[str] = ("success",),
    window: int = 10,
    seeds: bool = False,
    bands: bool = True,
) -> Path:
    """Draw curves of runs, one panel per quantity, with bands and held-out results.

    Args:
        runs: drawn in this order.
        target: a .png, .svg or .pdf file.
        names: quantities, as in the report: success, outcome, entropy, ...
        window: steps that a point is the mean of.
        seeds: draw the mean over all runs, with a band over them, instead of each.
        bands: read the trajectories to draw intervals over the tasks of a step.

    Raises:
        DataError: no run has a finished step, or the file's ending is another.
        UnknownNameError: no run has such a quantity.
        MissingExtraError: matplotlib is not installed.
    """
    if target.suffix not in FORMATS:
        raise DataError(f"{target} must end in {', '.join(FORMATS)}, got {target.suffix!r}")
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "plot") from error
    series = [(run.name, curves(run, bands=bands)) for run in runs]
    known = {curve.name for _, own in series for curve in own}
    if not known:
        raise DataError(f"{', '.join(str(run.path) for run in runs)}: no finished step to draw")
    for name in names:
        if name not in known:
            raise UnknownNameError("quantity", name, known)
    if seeds:
        series = [(f"mean of {len(runs)} runs", merge([own for _, own in series]))]
    # Text stays text, element ids do not change from one call to the next.
    fixed: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "turngym", "pdf.fonttype": 42}
    fixed |= {"font.size": 8, "axes.linewidth": 0.6}
    with matplotlib.rc_context(fixed):
        size = (COLUMN_INCHES * len(names), 2.5)
        figure = Figure(figsize=size, layout="constrained")
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            _panel(axes, name, series, window)
            if name in ("success", "outcome") and not seeds:
                _held_out(axes, name, runs)
        if len(series) > 1 or not seeds:
            figure.axes[0].legend(frameon=False, loc="best")
        target.parent.mkdir(parents=True, exist_ok=True)
        unstamped: dict[str, Any] = {"Date": None} if target.suffix == ".svg" else {}
        figure.savefig(target, dpi=300, metadata=unstamped)
    return target


def _panel(axes: Any, name: str, series: Sequence[tuple[str, list[Curve]]], window: int) -> None:
    for number, (label, own) in enumerate(series):
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
        for curve in own:
            if curve.name != name:
                continue
            axes.plot(curve.x, smooth(curve.y, window), ls=dash, color=colour, lw=1.2, label=label)
            low, high = smooth(curve.low, window), smooth(curve.high, window)
            sound = [i for i, pair in enumerate(zip(low, high, strict=True)) if None not in pair]
            axes.fill_between(
                [curve.x[i] for i in sound],
                [low[i] for i in sound],
                [high[i] for i in sound],
                color=colour,
                alpha=0.18,
                lw=0,
            )
    axes.set(xlabel="step", ylabel=name)
    axes.grid(alpha=0.3, lw=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    if name == "success":
        axes.set_ylim(0, 1.02)


def _held_out(axes: Any, name: str, runs: Sequence[RunFolder]) -> None:
    """Dots with 95 % intervals: sampled evaluations on held-out tasks."""
    for number, run in enumerate(runs):
        rows = [row for row in run.evaluations if row["label"].endswith("-1")]
        found = [row[name] for row in rows]
        if not found or any(f["low"] is None or f["high"] is None for f in found):
            continue
        axes.errorbar(
            [row["step"] for row in rows],
            [f["value"] for f in found],
            yerr=[
                [f["value"] - f["low"] for f in found],
                [f["high"] - f["value"] for f in found],
            ],
            fmt="os^Dv"[number % 5],
            ms=3.5,
            capsize=2,
            lw=0.8,
            color=COLOURS[number % len(COLOURS)],
            label=f"{run.name}, held out" if len(runs) > 1 else "held out",
        )
