"""IGPO: information gain pooled over the prompt's turns, returned to each turn with the outcome.

    r~_{i,t} = (ig_{i,t} - mean_q ig) / std_q ig,  r~_{i,T} = (R_i - mean_q R) / std_q R
    A_{i,t}  = sum_{k >= t} gamma^{k-t} r~_{i,k}

`joint` takes one mean and deviation over gains and outcomes together. A gain that the answer turn
has is added to the outcome there.

Source: arXiv 2510.14967; constants of the later published code: sqrt(var + 1e-8) + 1e-6, population
variance, a lone value gives 0. Preset `early`: the first code, without deviations. Its group mean
at the same token position and curriculum weights are left out. Reduces to GRPO with population
deviation without gains and gamma = 1.

Legend: K turns, B trajectories.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from turngym.trainers.credit.a2tgpo import INFO_GAIN, INFO_GAIN_MASK
from turngym.trainers.credit.credit import (
    PresetConfig,
    column,
    counted,
    credit,
    finish,
    group_of_turn,
    last_turn,
    of_turn,
    turn_return,
)
from turngym.trainers.kernels.segment_norm import Normed, NormRule, Singleton, segment_norm
from turngym.trainers.kernels.turn_credit import Norm, TurnPlan
from turngym.trainers.types import Credit, TurnBatch

__all__ = ["IgpoConfig", "igpo"]


class IgpoConfig(PresetConfig):
    """Settings of `igpo`."""

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"early": {"divide_by_std": False}}

    type: Literal["igpo"] = "igpo"
    preset: Literal["paper", "early"] = "paper"
    gamma: float = Field(default=1.0, ge=0, le=1)
    """Discount per turn."""
    norm: Literal["separate", "joint"] = "separate"
    divide_by_std: bool = True
    singleton: Singleton = "zero"
    """What a group of one gets for its outcome; `raw`: the outcome, `drop`: no loss."""
    eps: float = Field(default=1e-6, ge=0)
    eps_inside: float = Field(default=1e-8, ge=0)
    gain_floor: float = Field(default=1e-6, ge=0)
    """Smaller deviations of gain are rounding."""


def _plan(config: IgpoConfig) -> TurnPlan | None:
    if config.norm == "joint":
        return None
    return TurnPlan(
        score=Norm(name="group", rule=_rule(config)),
        score_to="last",
        column="info_gain",
        known="info_gain_mask",
        unknown="exclude",
        before=Norm(name="gain", rule=_gain_rule(config)),
        gamma=config.gamma,
    )


@credit("igpo", needs=(INFO_GAIN, INFO_GAIN_MASK), plan=_plan)
def igpo(batch: TurnBatch, config: IgpoConfig) -> Credit:
    """The discounted sum of normalised gains and the normalised outcome."""
    exists = column(batch, INFO_GAIN_MASK).bool() & batch.turn_mask
    gain, outcome = (_joint if config.norm == "joint" else _separate)(batch, exists, config)
    steps = gain.values + torch.where(last_turn(batch), of_turn(batch, outcome.values), 0)
    return finish(
        batch,
        turn_return(batch, steps, config.gamma),
        {"gain": gain, "group": outcome},
        kept=of_turn(batch, outcome.kept) if config.singleton == "drop" else None,
    )


def _separate(batch: TurnBatch, exists: Tensor, config: IgpoConfig) -> tuple[Normed, Normed]:
    """Gains [K] and outcomes [B], each by its own statistics."""
    gain = segment_norm(
        column(batch, INFO_GAIN),
        group_of_turn(batch),
        batch.num_groups,
        _gain_rule(config),
        mask=exists,
    )
    outcome = segment_norm(
        batch.outcome,
        batch.group_of_traj,
        batch.num_groups,
        _rule(config),
        mask=counted(batch),
    )
    return gain, outcome


def _joint(batch: TurnBatch, exists: Tensor, config: IgpoConfig) -> tuple[Normed, Normed]:
    """Gains [K] and outcomes [B] by the statistics of both together."""
    both = segment_norm(
        torch.cat([column(batch, INFO_GAIN), batch.outcome]),
        torch.cat([group_of_turn(batch), batch.group_of_traj]),
        batch.num_groups,
        _rule(config),
        mask=torch.cat([exists, counted(batch)]),
    )
    turns = batch.num_turns
    gain = replace(both, values=both.values[:turns], kept=both.kept[:turns])
    return gain, replace(both, values=both.values[turns:], kept=both.kept[turns:])


def _rule(config: IgpoConfig) -> NormRule:
    return NormRule(
        eps=config.eps,
        eps_inside=config.eps_inside,
        divide=config.divide_by_std,
        singleton=config.singleton,
    )


def _gain_rule(config: IgpoConfig) -> NormRule:
    return replace(_rule(config), std_floor=config.gain_floor, singleton="zero")
