"""Run by test_triton_aot.py in its own process: what a credit method launches on a GPU, compiled.

The launcher itself runs, with a driver that has no device, so that every kernel is specialised for
the arguments that it really gets; nothing is executed.
"""

from __future__ import annotations

import os
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from aot import REGISTERS_PER_BLOCK, SHARED_MEMORY_BYTES, Needs, needs_of
from credit_cases import VARIANTS, big_batch
from turngym.trainers.credit import CREDITS
from turngym.trainers.credit.credit import fused_credit
from turngym.trainers.kernels.dispatch import VARIABLE
from turngym.trainers.kernels.turn_credit.launch import LARGEST_MEETING

ARCH = int(os.environ["TURNGYM_ARCH"])
EVERYTHING = os.environ.get("TURNGYM_AOT_EVERYTHING") == "1"

IN_TORCH = [("raft", {}), ("igpo", {"norm": "joint"})]
"""Without a plan."""
PRESETS = [each for each in VARIANTS if each not in IN_TORCH and (EVERYTHING or not each[1])]
SHAPES = {"8 x 20": (2, 8, 20)}
"""Groups, members, turns. A size of one becomes a constant of the kernel."""
if EVERYTHING:
    SHAPES |= {"32 x 64": (2, 32, 64), "4 x 512": (2, 4, 512), "alone": (1, 1, 7)}


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, Needs]]:
    """Name, warps and needs of each kernel that is launched."""
    found: list[tuple[str, int, Needs]] = []
    run = JITFunction.run

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        made = run(self, *args, grid=grid, warmup=True, **kwargs)
        found.append((self.__name__, made.metadata.num_warps, needs_of(made)))

    nothing = SimpleNamespace(
        get_current_device=lambda: 0,
        get_current_stream=lambda device: 0,
        get_current_target=lambda: GPUTarget("cuda", ARCH, 32),
    )
    driver.set_active(nothing)  # type: ignore[arg-type]
    monkeypatch.setattr(JITFunction, "run", compile_only)
    monkeypatch.setenv(VARIABLE, "triton")
    return found


def plan_of(name: str, options: dict[str, Any]) -> Any:
    method = CREDITS[name]
    return None if method.plan is None else method.plan(method.parse(options))


@pytest.mark.parametrize(("name", "options"), IN_TORCH)
def test_what_has_no_plan(name, options):
    assert plan_of(name, options) is None


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "options"), PRESETS)
def test_no_spills(name, options, shape, compiled):
    plan = plan_of(name, options)
    groups, members, turns = SHAPES[shape]
    batch = big_batch(groups * members, turns)
    group = torch.arange(groups * members) // members
    batch = replace(batch, group_of_traj=group, num_groups=groups).with_table()
    made = fused_credit(batch, plan)
    if members * turns > LARGEST_MEETING and (name == "gigpo" or "turn_key" in options):
        assert made is None and not compiled  # every turn would meet every other: left to torch
        return
    assert made is not None and 1 <= len(compiled) <= 2
    for kernel, warps, needs in compiled:
        assert needs.spills == needs.stack_bytes == 0, (kernel, needs)
        assert needs.shared_bytes <= SHARED_MEMORY_BYTES[ARCH], (kernel, needs)
        assert needs.registers * 32 * warps <= REGISTERS_PER_BLOCK, (kernel, needs)
