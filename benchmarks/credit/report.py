"""Timing, the table and the JSON file."""

from __future__ import annotations

import datetime
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

ROUND = 5
"""Calls in a row of a side that takes less than 20 ms."""
RESULTS = Path(__file__).resolve().parents[1] / "results"
PACKAGES = ("torch", "numpy", "triton", "verl", "liger_kernel", "transformers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Ours beside one peer, on the same data, after both gave the same answer."""

    case: str
    peer: str
    ours_ms: float
    peer_ms: float
    largest_difference: float
    """Between the two results, absolute."""
    target: float | None = None
    """How many times faster ours should be."""

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.peer_ms / self.ours_ms

    @property
    def verdict(self) -> str:
        """met, MISSED, or nothing without a target."""
        if self.target is None:
            return ""
        return "met" if self.ratio >= self.target else "MISSED"


def milliseconds(
    function: Callable[[], Any],
    *,
    budget_s: float = 1.0,
    least: int = 3,
    synchronize: Callable[[], None] | None = None,
) -> float:
    """Median time of a call after one to warm up: at least `least` calls, about `budget_s`.

    On a device (`synchronize` given) it is wall time; else the CPU time of this one thread, which
    is the wall time of an idle machine and does not count what other processes take.
    Where the first call alone takes more than twice the budget, that is the answer.
    """

    def once() -> float:
        clock = time.thread_time if synchronize is None else time.perf_counter
        start = clock()
        function()
        if synchronize is not None:
            synchronize()
        return clock() - start

    first = once()
    if first > 2 * budget_s:
        return 1e3 * first
    times: list[float] = []
    while len(times) < least or (sum(times) < budget_s and len(times) < 50):
        times.append(once())
    return 1e3 * statistics.median(times)


def paired(
    ours: Callable[[], Any], theirs: Callable[[], Any], *, budget_s: float = 2.0, least: int = 3
) -> tuple[float, float]:
    """Median CPU time of both in milliseconds, measured in turns: what disturbs one disturbs both.

    Each is called once to warm up; a side whose first call takes more than the budget keeps it.
    A quick side is called several times in a row, so that it finds its own data in the caches.
    """
    sides = (ours, theirs)
    times: tuple[list[float], list[float]] = ([], [])

    def once(side: int) -> float:
        start = time.thread_time()
        sides[side]()
        return time.thread_time() - start

    first = [once(0), once(1)]
    open_sides = [side for side in (0, 1) if first[side] <= budget_s]
    while open_sides and (
        len(times[open_sides[0]]) < least
        or (sum(map(sum, times)) < budget_s and len(times[open_sides[0]]) < 200)
    ):
        for side in open_sides:
            times[side].extend(once(side) for _ in range(ROUND if first[side] < 0.1 else 1))
    ours_s, theirs_s = (statistics.median(times[side] or [first[side]]) for side in (0, 1))
    return 1e3 * ours_s, 1e3 * theirs_s


def print_table(rows: list[Row]) -> None:
    """One line per row."""
    print(f"{'case':44} {'peer':34} {'ours ms':>9} {'peer ms':>9} {'x':>7} {'target':>6}  verdict")
    for row in rows:
        target = "" if row.target is None else f"{row.target:g}"
        print(
            f"{row.case:44} {row.peer:34} {row.ours_ms:9.3f} {row.peer_ms:9.2f} {row.ratio:7.2f} "
            f"{target:>6}  {row.verdict}"
        )


def write_json(name: str, device: str, rows: list[Row], extra: dict[str, Any]) -> Path:
    """Store the rows with device, versions and date; the file's path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {
        "format_version": 1,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": device,
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in PACKAGES},
        "threads": torch.get_num_threads(),
        "rows": [{**asdict(row), "ratio": row.ratio, "verdict": row.verdict} for row in rows],
        **extra,
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
