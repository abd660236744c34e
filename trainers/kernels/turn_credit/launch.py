"""How a plan is laid over programs, and its launches.

Legend: K turns, B trajectories, G groups, P programs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from turngym.trainers.kernels.spread import spread
from turngym.trainers.kernels.turn_credit.plan import Norm, TurnPlan
from turngym.trainers.kernels.turn_credit.triton import anchor_kernel, batch_kernel, group_kernel
from turngym.trainers.types import Credit, TurnBatch

__all__ = [
    "BLOCK",
    "LARGEST_MEETING",
    "LARGEST_TILE",
    "Tile",
    "metrics_of",
    "norm_over_batch",
    "tile_of",
    "turn_credit",
]

BLOCK = 1024
"""Turns, and parts of the batch, that a program of `batch_kernel` handles at a time."""
LARGEST_TILE = 2048
"""Members times turns that the registers of a program hold."""
LARGEST_MEETING = 1024
"""The same where keys are not columns of the tile: work then grows with the number of keys too."""
SHARED_TILE = 256
"""Where groups do not matter, short trajectories share a program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """What one program holds; powers of 2."""

    programs: int
    members: int
    turns: int

    @property
    def num_warps(self) -> int:
        """Four turns per lane."""
        return min(max(self.members * self.turns // 128, 1), 16)


def tile_of(batch: TurnBatch, plan: TurnPlan) -> Tile | None:
    """The tile for a batch; None where it has no table that the plan needs, or is too large."""
    turns = triton.next_power_of_2(max(batch.max_turns, 1))
    if plan.needs_groups:
        members = triton.next_power_of_2(max(batch.largest_group, 1))
        programs = batch.num_groups
    else:
        members = max(SHARED_TILE // turns, 1)
        programs = triton.cdiv(batch.num_trajectories, members)
    scopes = [norm.scope for norm in plan.norms if norm is not None]
    limit = LARGEST_MEETING if {"anchor", "exchange"} & set(scopes) else LARGEST_TILE
    if batch.num_turns == 0 or batch.traj_by_group is None:
        return None
    if members * turns > limit:
        return None
    return Tile(programs=programs, members=members, turns=turns)


def turn_credit(batch: TurnBatch, plan: TurnPlan) -> Credit | None:
    """`plan` over the batch in at most three launches, one of which adds up the metrics.

    A fourth spreads what the rule `drop` takes out of the loss over the tokens. None: see `tile_of`.
    """
    tile = tile_of(batch, plan)
    if tile is None:
        return None

    def turns_if(wanted: bool, like: Tensor = batch.outcome) -> Tensor | None:
        return like.new_empty(batch.num_turns) if wanted else None

    wide = plan.second_launch
    turn = batch.outcome.new_empty(batch.num_turns)
    clip, kept = turns_if(plan.clip_beta is not None), turns_if(plan.drops)
    returns, unsettled = turns_if(plan.lam is not None), turns_if(wide is not None)
    used = turns_if(wide is not None, batch.turn_status)
    parts = batch.outcome.new_empty((3, tile.programs), dtype=torch.float64)
    counts = batch.outcome.new_empty((8, tile.programs))
    group_kernel[(tile.programs,)](
        batch.traj_by_group,
        batch.cu_groups,
        batch.cu_turns,
        batch.traj_mask,
        batch.outcome,
        batch.turn_rewards,
        batch.reward_mask,
        _column(batch, plan.column),
        _column(batch, plan.other),
        _column(batch, plan.known),
        _column(batch, "values" if plan.lam is not None else None),
        batch.loss_mask,
        batch.tokens_of_turn,
        batch.exchange_of_turn,
        turn, clip, kept, returns, unsettled, used, parts, counts,
        batch.num_trajectories,
        PLAN=plan,
        GROUPED=plan.needs_groups,
        MEMBERS=tile.members,
        TURNS=tile.turns,
        num_warps=tile.num_warps,
    )  # fmt: skip
    if wide is not None:
        assert unsettled is not None and used is not None
        if wide.scope == "anchor":
            _add_by_anchor(batch, tile, wide, unsettled, used, turn, counts)
        else:
            norm_over_batch(wide, parts, unsettled, used, turn, counts, add=True)
    return Credit(
        turn=turn,
        clip_scale=clip,
        weight=None if kept is None else spread(kept, batch.turn_of_token),
        returns=returns,
        metrics=metrics_of(plan.norms, counts),
    )


def norm_over_batch(
    norm: Norm,
    parts: Tensor,
    unsettled: Tensor,
    used: Tensor,
    result: Tensor,
    counts: Tensor,
    *,
    add: bool,
) -> None:
    """The weighted `norm` of `unsettled` by the statistics in `parts`, 0 where not `used`.

    Args:
        norm: scope `batch`.
        parts: [3, P] float64 count, mean and squared differences of each program's part.
        unsettled: [n].
        used: [n] int8.
        result: [n], written.
        counts: [8, P]; the last two rows are written.
        add: to what stands in `result`.
    """
    num_parts, rows = parts.shape[1], result.shape[0]
    tensors = (parts, unsettled, used, result, counts)
    batch_kernel[(triton.cdiv(rows, BLOCK),)](
        *tensors, num_parts, rows, NORM=norm, ADD=add, BLOCK=BLOCK
    )


def _add_by_anchor(
    batch: TurnBatch,
    tile: Tile,
    norm: Norm,
    unsettled: Tensor,
    used: Tensor,
    turn: Tensor,
    counts: Tensor,
) -> None:
    anchor_kernel[(tile.programs,)](
        batch.traj_by_group,
        batch.cu_groups,
        batch.cu_turns,
        batch.anchor_of_turn,
        unsettled,
        used,
        turn,
        counts,
        NORM=norm,
        MEMBERS=tile.members,
        TURNS=tile.turns,
        num_warps=2 * tile.num_warps,  # with four turns per lane its float64 statistics spill
    )


def _column(batch: TurnBatch, name: str | None) -> Tensor | None:
    """A column of the batch itself, or one that a signal made."""
    if name is None:
        return None
    own = name in ("turn_rewards", "reward_mask")
    column: Tensor = getattr(batch, name) if own else batch.turn_columns[name]
    return column.contiguous()


def metrics_of(norms: tuple[Norm | None, ...], counts: Tensor) -> dict[str, Tensor]:
    """As `norm_metrics` of the torch forms, in one launch, from two rows of `counts` for each norm."""
    sums = counts.sum(1)
    metrics = {}
    for place, norm in enumerate(norms):
        if norm is not None and norm.name is not None:
            metrics[f"{norm.name}_singletons"] = sums[2 * place]
            metrics[f"{norm.name}_flat"] = sums[2 * place + 1]
    return metrics
