"""Every credit method on the device: equality with the CPU, time, launches, what bytes allow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from gpu_device import Device, Limits, Sizes
from random_batches import random_batch
from torch import Tensor
from turn_level import CASES, TARGET, TOKEN_CASES, bytes_moved, plan_of, turn_batch

from turngym.trainers.credit import CREDITS
from turngym.trainers.types import Credit, TurnBatch

OTHERS: tuple[tuple[str, Mapping[str, Any]], ...] = (("raft", {}), *TOKEN_CASES)
"""On a batch with tokens; `raft`, which only chooses, is left to torch and has no bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRow:
    """One method."""

    method: str
    ms: float
    launches: int | None
    floor_ms: float | None
    """What copying the bytes that must move would take; None: not known."""
    primitives_ms: float
    """By the primitives' kernels with torch between them."""
    primitives_launches: int | None
    largest_difference: float
    """From the CPU, in units of the largest value or 1."""
    bounded: bool
    """The bound on launches holds for it."""

    @property
    def verdict(self) -> str:
        """met, MISSED, or nothing without bound or count."""
        if not self.bounded or self.launches is None:
            return ""
        return "met" if self.launches <= TARGET else "MISSED"


def method_rows(device: Device, sizes: Sizes, limits: Limits) -> list[MethodRow]:
    """All methods at full size, after each agreed with the CPU there.

    Raises:
        AssertionError: a method gives something else on the device.
    """
    rows = []
    per_turn = turn_batch(sizes.trajectories)
    per_token = random_batch(sizes.trajectories, sizes.episode_tokens)
    per_token = replace(per_token, success=per_token.outcome > 0)
    for batch, cases in ((per_turn, CASES), (per_token, OTHERS)):
        print(f"{batch.num_trajectories} trajectories, {batch.num_turns} turns, "
              f"{batch.num_tokens} tokens", flush=True)  # fmt: skip
        there = batch.to(device.kind)
        for name, settings in cases:
            row = _row(device, limits, batch, there, name, settings)
            count = "" if row.launches is None else f"{row.launches:4d} launches"
            print(f"{row.method:28} {row.ms:8.4f} ms {count:13} {row.verdict:6} by primitives "
                  f"{row.primitives_ms:8.4f} ms", flush=True)  # fmt: skip
            rows.append(row)
    return rows


def as_content(rows: list[MethodRow]) -> list[dict[str, Any]]:
    """For the file."""
    return [{**asdict(row), "verdict": row.verdict} for row in rows]


def _row(
    device: Device,
    limits: Limits,
    batch: TurnBatch,
    there: TurnBatch,
    name: str,
    settings: Mapping[str, Any],
) -> MethodRow:
    method = CREDITS[name]
    config = method.parse(settings)
    difference = _difference(method(there, config), method(batch, config))
    label = " ".join([name, *map(str, settings.values())])
    assert difference <= 1e-4, f"{label} on {device.kind} differs from the CPU by {difference}"
    bounded = method.plan is not None
    moved = bytes_moved(batch, plan_of(name, settings)[1]) if bounded else None

    def whole() -> Credit:
        return method(there, config)

    def primitives() -> Credit:
        with torch.no_grad():
            made: Credit = method.function(there, config)
            return made

    return MethodRow(
        method=label,
        ms=device.ms(whole),
        launches=device.launches(whole),
        floor_ms=None if moved is None else moved / limits.copy_gb_per_s / 1e6,
        primitives_ms=device.ms(primitives),
        primitives_launches=device.launches(primitives),
        largest_difference=difference,
        bounded=bounded,
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
