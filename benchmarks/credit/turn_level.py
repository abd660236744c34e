"""The turn-level part of every credit method on a GPU: launches, time, and what bytes allow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from random_batches import random_batch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from turngym.trainers.credit import CREDITS
from turngym.trainers.kernels.turn_credit import TurnPlan, turn_credit
from turngym.trainers.types import TurnBatch

TARGET = 3
CASES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("grpo", {}),
    ("rloo", {}),
    ("reinforce_pp", {}),
    ("reinforce_pp_baseline", {}),
    ("mapo", {}),
    ("mapo", {"preset": "mica"}),
    ("mapo", {"turn_key": "exchange"}),
    ("a2tgpo", {}),
    ("a2tgpo", {"preset": "released"}),
    ("oprl", {}),
    ("oprl", {"preset": "released"}),
    ("spa", {}),
    ("spa", {"preset": "released"}),
    ("gigpo", {}),
    ("gigpo", {"preset": "released"}),
    ("igpo", {}),
    ("gae_turn", {}),
)


def turn_batch(num_trajectories: int) -> TurnBatch:
    """Trajectories of 20 turns in groups of 8, with every column that a turn-level method reads."""
    batch = random_batch(num_trajectories, shortest=20).with_table()
    draw = torch.Generator().manual_seed(1)
    names = ("info_gain", "step_reward", "progress", "grounding", "values")
    columns = {name: torch.randn(batch.num_turns, generator=draw) for name in names}
    # The last turn answers: it has no gain.
    columns["info_gain_mask"] = batch.turn_index < 19
    return batch.with_columns(turn=columns)


def plan_of(name: str, options: Mapping[str, Any]) -> tuple[Any, TurnPlan]:
    """The parsed settings of a method, and its plan."""
    method = CREDITS[name]
    config = method.parse(options)
    plan = None if method.plan is None else method.plan(config)
    assert plan is not None, f"{name} {options} has no plan"
    return config, plan


def largest_difference(name: str, options: Mapping[str, Any], batch: TurnBatch) -> float:
    """Of the fused credit on the GPU from the torch form on the CPU; nothing if it was not fused."""
    config, plan = plan_of(name, options)
    made = turn_credit(batch.to("cuda"), plan)
    assert made is not None, f"{name} {options} was not fused"
    expected = CREDITS[name].function(batch, config)
    return float((made.turn.cpu() - expected.turn).abs().max())


def bytes_moved(batch: TurnBatch, plan: TurnPlan) -> int:
    """Columns that the plan reads and results that it writes, once each."""
    turns, trajectories = batch.num_turns, batch.num_trajectories
    columns = [plan.column, plan.other, plan.lam, plan.clip_beta, plan.score_rewards or None]
    per_turn = 4 + 4 * sum(column is not None for column in columns) + (plan.known is not None)
    per_turn += 4 * (plan.lam is not None)  # returns
    scopes = [norm.scope for norm in plan.norms if norm is not None]
    shares = [norm.share for norm in plan.norms if norm is not None]
    per_turn += 8 * ("exchange" in scopes) + 8 * ("anchor" in scopes)
    per_turn += ("trained" in shares) + 9 * ("tokens" in shares)
    per_turn += (plan.second_launch is not None) * 2 * (4 + 1 + 4)  # left open, then finished
    return turns * per_turn + trajectories * (8 + 8 + 4 + 1)


def launches(function: Callable[[], Any]) -> int:
    """What one call runs on the device, fills and copies included, after it has been compiled."""
    function()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        function()
        torch.cuda.synchronize()
    return sum(event.device_type == DeviceType.CUDA for event in profiler.events())


def turn_level(
    time_ms: Callable[[Callable[[], Any]], float],
    copy_gb_per_s: float,
    num_trajectories: int = 4096,
) -> list[dict[str, Any]]:
    """One row per method and preset: fused, and by the primitives' kernels with torch between them."""
    batch = turn_batch(num_trajectories)
    there = batch.to("cuda")
    rows = []
    print(
        f"{batch.num_trajectories} trajectories, {batch.num_turns} turns; target {TARGET} launches"
    )
    for name, options in CASES:
        difference = largest_difference(name, options, batch)
        assert difference <= 1e-4, f"{name} {options} differs from the CPU by {difference}"
        config, plan = plan_of(name, options)

        def fused(plan: TurnPlan = plan) -> Any:
            return turn_credit(there, plan)

        def primitives(name: str = name, config: Any = config) -> Tensor:
            return CREDITS[name].function(there, config).turn

        row = {
            "method": " ".join([name, *map(str, options.values())]),
            "launches": launches(fused),
            "ms": time_ms(fused),
            "floor_ms": bytes_moved(batch, plan) / copy_gb_per_s / 1e6,
            "primitives_launches": launches(primitives),
            "primitives_ms": time_ms(primitives),
            "difference": difference,
        }
        rows.append(row)
        print(
            "{method:24} {launches:3d} launches {ms:8.4f} ms (bytes allow {floor_ms:.4f})   primitives "
            "{primitives_launches:3d} launches {primitives_ms:8.4f} ms".format(**row)
        )
    return rows
