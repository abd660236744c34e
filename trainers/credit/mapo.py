"""MAPO: the return against what others got from the same turn on, mixed with a wider view.

    G_{i,t}      = sum_{k >= t} gamma^{k-t} r_{i,k}
    A^turn_{i,t} = (G_{i,t} - mean) / (std + eps)        over the trajectories of q that reach t
    A^wide_{i,t} = (x_{i,t} - mean) / (std + eps)        x = G over the batch, or r over the group
    A_{i,t}      = turn_weight A^turn + wide_weight A^wide

Source: arXiv 2603.06194. Preset `mapo` (version 1: "batch-level normalization", read as returns
over the batch), `mica` (version 3: immediate rewards over the prompt's group), `released` (the
weights of the published script, and the mean of a trajectory's rewards where one is missing). The
estimator's own code is not public: the wide term, its input and eps are the least certain part.
The outcome is not added: the method learns from turn rewards alone.

Deviations: a turn that no other trajectory of the group reaches has A^turn = 0 and is counted. A
turn without reward counts as 0 in the returns before it, stays out of every mean and gets 0.
Reduces to GRPO with population deviation on one-turn episodes with wide_weight = 0.

Legend: K turns, G groups.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from turngym.trainers.credit.credit import (
    PresetConfig,
    TurnKey,
    credit,
    finish,
    group_of_turn,
    of_turn,
    turn_position_key,
    turn_return,
)
from turngym.trainers.kernels.segment_norm import NormRule, Singleton, segment_norm
from turngym.trainers.kernels.segment_sum import segment_mean
from turngym.trainers.kernels.turn_credit import Norm, TurnPlan
from turngym.trainers.types import Credit, TurnBatch

__all__ = ["MapoConfig", "mapo"]


class MapoConfig(PresetConfig):
    """Settings of `mapo`."""

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "mica": {"wide_scope": "group", "wide_input": "reward"},
        "released": {"turn_weight": 0.4, "wide_weight": 0.6, "missing_reward": "mean"},
    }

    type: Literal["mapo"] = "mapo"
    preset: Literal["mapo", "mica", "released"] = "mapo"
    gamma: float = Field(default=0.85, ge=0, le=1)
    """Discount per turn."""
    turn_weight: float = 0.5
    wide_weight: float = 0.5
    wide_scope: Literal["batch", "group"] = "batch"
    """Whose statistics the wide term uses: all turns of the batch, or those of the prompt."""
    wide_input: Literal["return", "reward"] = "return"
    turn_key: TurnKey = "turn"
    missing_reward: Literal["exclude", "mean"] = "exclude"
    """A turn without reward: leave it out, or take the mean of its trajectory's rewards."""
    singleton: Singleton = "zero"
    """A^turn of a turn that nobody else reached; `raw`: its return, `drop`: no loss."""
    eps: float = Field(default=1e-8, ge=0)


def _plan(config: MapoConfig) -> TurnPlan:
    return TurnPlan(
        column="turn_rewards",
        known="reward_mask",
        unknown=config.missing_reward,
        gamma=config.gamma,
        own=0.0,
        near=Norm(
            name="turn",
            rule=NormRule(ddof=0, eps=config.eps, singleton=config.singleton),
            scope=config.turn_key,
            weight=config.turn_weight,
        ),
        wide=Norm(
            name="wide",
            rule=NormRule(ddof=0, eps=config.eps),
            scope=config.wide_scope,
            weight=config.wide_weight,
        ),
        wide_of_values=config.wide_input == "reward",
    )


@credit("mapo", plan=_plan)
def mapo(batch: TurnBatch, config: MapoConfig) -> Credit:
    """Turn-level and wide advantages, mixed."""
    rewards, known = _rewards(batch, config)
    returns = turn_return(batch, rewards, config.gamma)
    key, num_keys = turn_position_key(batch, config.turn_key)
    rule = NormRule(ddof=0, eps=config.eps, singleton=config.singleton)
    near = segment_norm(returns, key, num_keys, rule, mask=known)
    if config.wide_scope == "group":
        key, num_keys = group_of_turn(batch), batch.num_groups
    else:
        key, num_keys = torch.zeros_like(batch.traj_of_turn), 1
    wide = segment_norm(
        returns if config.wide_input == "return" else rewards,
        key,
        num_keys,
        NormRule(ddof=0, eps=config.eps),
        mask=known,
    )
    turn = config.turn_weight * near.values + config.wide_weight * wide.values
    norms = {"turn": near, "wide": wide}
    if config.singleton != "drop":
        return finish(batch, turn, norms)
    dropped = known & ~near.kept
    return finish(batch, turn.masked_fill(dropped, 0), norms, kept=~dropped)


def _rewards(batch: TurnBatch, config: MapoConfig) -> tuple[Tensor, Tensor]:
    """[K] rewards, 0 where unknown, and [K] bool where they are known."""
    known = batch.reward_mask & batch.turn_mask
    rewards = torch.where(known, batch.turn_rewards, 0)
    if config.missing_reward == "exclude":
        return rewards, known
    key = torch.where(known, batch.traj_of_turn, -1)
    means = segment_mean(rewards, key, batch.num_trajectories)
    return torch.where(known, rewards, of_turn(batch, means)), batch.turn_mask
