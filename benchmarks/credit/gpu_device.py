"""The device under test: its clock, its launch counter, its limits, and how much of each is tried."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from report import milliseconds
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

COPY_TARGET, MATRIX_TARGET = 0.8, 0.85
"""Shares of the measured limits that are asked of kernels bound by them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much of everything."""

    trajectories: int = 4096
    episode_tokens: int = 1024
    """Of the longest trajectory, for methods whose work is per token."""
    tokens: int = 2**25
    """Of the kernels that memory bounds: far more than a cache holds."""
    rows: int = 4096
    """Rows of logits."""
    scored: int = 65_536
    """Tokens that meet the head."""
    hidden: int = 4096
    vocab: int = 151_936
    copied: int = 2**28
    """float32 values."""
    square: int = 8192
    """Side of the matrices."""
    budget_s: float = 2.0
    """Of one measurement."""


SMALL = Sizes(trajectories=16, episode_tokens=64, tokens=512, rows=4, scored=96, hidden=16, vocab=61,
              copied=2**10, square=32, budget_s=0.0)  # fmt: skip
"""Enough to see that everything runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """`cuda` or `cpu`; the CPU is for trying the script, its figures mean nothing."""

    kind: str
    budget_s: float

    @property
    def name(self) -> str:
        """Of the hardware."""
        cuda = self.kind == "cuda"
        return torch.cuda.get_device_name() if cuda else f"{platform.machine()} (figures void)"

    def synchronize(self) -> None:
        """Wait until everything that was launched is done."""
        if self.kind == "cuda":
            torch.cuda.synchronize()

    def ms(self, function: Callable[[], Any]) -> float:
        """Median milliseconds of a call, the device's work included; one call is made before."""
        function()
        return milliseconds(function, budget_s=self.budget_s, synchronize=self.synchronize)

    def launches(self, function: Callable[[], Any]) -> int | None:
        """What a call runs on the device (kernels, copies, fills); None on the CPU."""
        if self.kind != "cuda":
            return None
        function()
        self.synchronize()
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
            function()
            self.synchronize()
        return sum(event.device_type == DeviceType.CUDA for event in profiler.events())

    def extra_gib(self, function: Callable[[], Any], kept_bytes: int) -> float | None:
        """Peak memory of a call beyond what was there before and the `kept_bytes` of its result."""
        if self.kind != "cuda":
            return None
        self.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        self.synchronize()
        return (torch.cuda.max_memory_allocated() - before - kept_bytes) / 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the device can do, measured in the same run."""

    copy_gb_per_s: float
    """Read and write counted."""
    bf16_tflop_per_s: float


def limits_of(device: Device, sizes: Sizes) -> Limits:
    """Of a large copy and of a square matrix product."""
    source = torch.ones(sizes.copied, device=device.kind)
    target = torch.empty_like(source)
    copy = device.ms(lambda: target.copy_(source))
    left = torch.randn(sizes.square, sizes.square, dtype=torch.bfloat16, device=device.kind)
    product = device.ms(lambda: left @ left)
    return Limits(
        copy_gb_per_s=2 * 4 * source.numel() / copy / 1e6,
        bf16_tflop_per_s=2 * sizes.square**3 / product / 1e9,
    )
