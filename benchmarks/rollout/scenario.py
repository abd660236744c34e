"""What every driver plays: the environment says the number of the turn until it ends.

Standard library only, since each peer runs in an environment of its own.
"""

from __future__ import annotations

import hashlib
import json
import resource
import time
from collections.abc import Sequence

START = "obs 0: start"
WORDS = " ".join(["guess"] * 41)
CALL = f'<tool_call>\n{{"name": "say", "arguments": {{"text": "{WORDS}"}}}}\n</tool_call>'
# fmt: off
HEAD = [2045, 201, 315, 354, 289, 290, 85, 355, 368, 290, 373, 289, 370, 86, 389, 289, 290, 73, 87, 463]
# fmt: on
REPLY_IDS = [*HEAD, *[1239] * 40, 374, 201, 2046, 2]
"""CALL in the tokens of the tiny policies, and their end of turn: 64."""

Round = tuple[float, float]
"""CPU seconds of this process, all its threads included, and seconds on the wall."""


def said(turn: int) -> str:
    """What the environment says after reply number `turn`, from 1."""
    return f"obs {turn}: ok"


class Stopwatch:
    """Time since it was made."""

    def __init__(self) -> None:
        self._began = time.process_time(), time.perf_counter()

    def read(self) -> Round:
        """See `Round`."""
        return time.process_time() - self._began[0], time.perf_counter() - self._began[1]


def report(
    rounds: Sequence[Round],
    told: Sequence[Sequence[str]],
    *,
    turns: int,
    replies: int,
    versions: dict[str, str],
) -> None:
    """Print the least disturbed round as one line of JSON.

    Args:
        rounds: without those that warm up.
        told: what each episode of the last round was shown, in order.
        turns: of each episode.
        replies: asked for in all, warm-up included, which the server has counted as well.
        versions: of what was measured.
    """
    expected = [START, *map(said, range(1, turns))]
    for shown in told:
        assert list(shown)[:turns] == expected, shown
    count = len(told) * turns
    cpu, wall = min(rounds)
    figures = {
        "turns": count,
        "rounds": len(rounds),
        "replies": replies,
        "cpu_ms_per_turn": cpu / count * 1e3,
        "median_cpu_ms_per_turn": sorted(rounds)[len(rounds) // 2][0] / count * 1e3,
        "turns_per_s": count / wall,
        "max_rss_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "observations": hashlib.sha256(json.dumps([expected, len(told)]).encode()).hexdigest(),
        "versions": versions,
    }
    print(json.dumps(figures))
