"""A2TGPO: information gain of each turn, normalised by turn, on top of the outcome.

    ig^_{i,t} = (ig_{i,t} - mean) / std                  over the trajectories of q with a gain at t
    R^_i      = (R_i - mean_q R) / std_q R
    A_{i,t}   = alpha sum_{k >= t} gamma^{k-t} ig^_{i,k} / sqrt(n_{i,t}) + R^_i
    c_{i,t}   = 1 + beta (2 sigmoid(ig^_{i,t}) - 1)      factor on both clip bounds (`clip_scale`)

n_{i,t} counts the gains that exist from t on; the answer turn has none: A = R^, c = 1.

Source: arXiv 2605.06200, equations 6-9 and 11 (population deviation). Preset `released`: the
published code's alpha = 0.3 and sqrt(var + 1e-8) + 1e-6. Its boundaries by reward != 0 and by equal
neighbouring advantages are defects and not reproduced. Probability against log-probability gains
and the baseline of the first gain are settings of the signal, the turn-level ratio and
seq-mean-token-mean of the loss.

Deviations: deviations of gain below 1e-6 count as 0, because two gains that differ by rounding
would become +-1. Reduces to GRPO with population deviation where no turn has a gain.

Legend: K turns, B trajectories.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import Field

from turngym.trainers.credit.credit import (
    Need,
    PresetConfig,
    TurnKey,
    column,
    counted,
    credit,
    finish,
    of_turn,
    turn_position_key,
    turn_return,
)
from turngym.trainers.kernels.segment_norm import NormRule, Singleton, segment_norm
from turngym.trainers.kernels.turn_credit import Norm, TurnPlan
from turngym.trainers.types import Credit, TurnBatch

__all__ = ["INFO_GAIN", "INFO_GAIN_MASK", "A2tgpoConfig", "a2tgpo"]

INFO_GAIN = Need("info_gain", "turn", "info_gain")
"""[K] float32, finite; 0 where the mask is false."""
INFO_GAIN_MASK = Need("info_gain_mask", "turn", "info_gain")
"""[K] bool: the turn has a gain."""


class A2tgpoConfig(PresetConfig):
    """Settings of `a2tgpo`."""

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "released": {"alpha": 0.3, "eps": 1e-6, "eps_inside": 1e-8}
    }

    type: Literal["a2tgpo"] = "a2tgpo"
    preset: Literal["paper", "released"] = "paper"
    gamma: float = Field(default=1.0, ge=0, le=1)
    """Discount per turn."""
    alpha: float = Field(default=1.0, ge=0)
    """Weight of the turn term."""
    beta: float = Field(default=0.3, ge=0, lt=1)
    """Width of the adaptive clip; 0: the same bounds for every turn."""
    turn_key: TurnKey = "turn"
    singleton: Singleton = "zero"
    """What a group of one gets for its outcome; `raw`: the outcome, `drop`: no loss."""
    eps: float = Field(default=1e-8, ge=0)
    eps_inside: float = Field(default=0.0, ge=0)
    gain_floor: float = Field(default=1e-6, ge=0)
    """Smaller deviations of gain are rounding."""


def _plan(config: A2tgpoConfig) -> TurnPlan:
    rule = NormRule(eps=config.eps, eps_inside=config.eps_inside)
    return TurnPlan(
        score=Norm(name="group", rule=replace(rule, singleton=config.singleton)),
        column="info_gain",
        known="info_gain_mask",
        unknown="exclude",
        before=Norm(
            name="gain", rule=replace(rule, std_floor=config.gain_floor), scope=config.turn_key
        ),
        gamma=config.gamma,
        root_count=True,
        own=config.alpha,
        clip_beta=config.beta,
    )


@credit("a2tgpo", needs=(INFO_GAIN, INFO_GAIN_MASK), plan=_plan)
def a2tgpo(batch: TurnBatch, config: A2tgpoConfig) -> Credit:
    """Turn advantages and clip factors."""
    exists = column(batch, INFO_GAIN_MASK).bool() & batch.turn_mask
    key, num_keys = turn_position_key(batch, config.turn_key)
    gain = segment_norm(
        column(batch, INFO_GAIN),
        key,
        num_keys,
        NormRule(eps=config.eps, eps_inside=config.eps_inside, std_floor=config.gain_floor),
        mask=exists,
    )
    outcome = segment_norm(
        batch.outcome,
        batch.group_of_traj,
        batch.num_groups,
        NormRule(eps=config.eps, eps_inside=config.eps_inside, singleton=config.singleton),
        mask=counted(batch),
    )
    ahead = turn_return(batch, gain.values, config.gamma)
    count = turn_return(batch, exists.float(), 1.0)
    turn = config.alpha * ahead / count.clamp(min=1).sqrt() + of_turn(batch, outcome.values)
    return finish(
        batch,
        turn,
        {"gain": gain, "group": outcome},
        kept=of_turn(batch, outcome.kept) if config.singleton == "drop" else None,
        clip_scale=1 + config.beta * (2 * torch.sigmoid(gain.values) - 1),
    )
