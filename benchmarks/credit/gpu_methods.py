"""Every credit method on the device: equality with the CPU, time, launches."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gpu_device import Device, Sizes
from random_batches import with_signals
from torch import Tensor

from turngym.trainers.credit import CREDITS
from turngym.trainers.types import Credit, TurnBatch

LAUNCHES = 3
"""At most, for the turn-level part of a method."""
TOKEN_LEVEL = ("gae_token", "gae_bilevel")
"""Methods whose work is per token: no such bound."""
SETTINGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("grpo", {}),
    ("grpo", {"preset": "dr_grpo"}),
    ("rloo", {}),
    ("raft", {}),
    ("reinforce_pp", {}),
    ("reinforce_pp_baseline", {}),
    ("mapo", {}),
    ("mapo", {"preset": "mica"}),
    ("gigpo", {}),
    ("a2tgpo", {}),
    ("igpo", {}),
    ("oprl", {}),
    ("oprl", {"preset": "released"}),
    ("spa", {}),
    ("gae_turn", {}),
    ("gae_token", {}),
    ("gae_bilevel", {}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRow:
    """One method."""

    method: str
    ms: float
    launches: int | None
    largest_difference: float
    """From the CPU, in units of the largest value or 1."""
    bounded: bool
    """The bound on launches holds for it."""

    @property
    def verdict(self) -> str:
        """met, MISSED, or nothing without bound or count."""
        if not self.bounded or self.launches is None:
            return ""
        return "met" if self.launches <= LAUNCHES else "MISSED"


def method_rows(device: Device, sizes: Sizes) -> list[MethodRow]:
    """All methods at full size, after each agreed with the CPU there.

    Raises:
        AssertionError: a method gives something else on the device.
    """
    batch = with_signals(sizes.trajectories, sizes.turns)
    there = batch.to(device.kind)
    rows = [_row(device, batch, there, name, settings) for name, settings in SETTINGS]
    for row in rows:
        count = "" if row.launches is None else f"{row.launches:4d} launches"
        print(f"{row.method:32} {row.ms:9.3f} ms {count} {row.verdict}", flush=True)
    return rows


def as_content(rows: list[MethodRow]) -> list[dict[str, Any]]:
    """For the file."""
    return [{**asdict(row), "verdict": row.verdict} for row in rows]


def _row(
    device: Device, batch: TurnBatch, there: TurnBatch, name: str, settings: dict[str, Any]
) -> MethodRow:
    method = CREDITS[name]
    config = method.parse(settings)
    difference = _difference(method(there, config), method(batch, config))
    label = " ".join([name, *map(str, settings.values())])
    assert difference <= 1e-4, f"{label} on {device.kind} differs from the CPU by {difference}"
    return MethodRow(
        method=label,
        ms=device.ms(lambda: method(there, config)),
        launches=device.launches(lambda: method(there, config)),
        largest_difference=difference,
        bounded=name not in TOKEN_LEVEL,
    )


def _difference(got: Credit, expected: Credit) -> float:
    pairs = [
        (getattr(got, name), getattr(expected, name))
        for name in ("turn", "token", "clip_scale", "weight", "returns")
        if getattr(expected, name) is not None
    ]
    return max(_relative(left, right) for left, right in pairs)


def _relative(left: Tensor | None, right: Tensor) -> float:
    assert left is not None and left.shape == right.shape
    scale = max(float(right.abs().max()), 1.0)
    return float((left.cpu() - right).abs().max()) / scale
