"""SPA: learnt progress and grounding as the reward of each turn.

    r_t = progress_weight c_t + grounding_weight g_t        sum_t c_t ~ R, g_t = 1 if t was executable

`advantage = "gae"` runs GAE over turns on r (needs turn values), `"return"` takes the discounted sum
of r; both are then whitened over the batch's turns. The outcome is not added: the sum of c is its
estimate.

Source: arXiv 2505.20732 (abstract and code; the paper's weights were not readable, these are the
script's). Preset `released`: what the published code computes instead, (R_i less the mean of the
others of the group + grounding) x (turns still to come), without the learnt progress. `"return"` is
ours, for runs without a critic. Grounding pays for length where nothing else does:
`grounding_offset = -1` makes it a penalty. Reduces, with exact progress, no grounding and gamma = 1,
to the outcome on the first turn.

Legend: K turns, B trajectories.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from turngym.trainers.credit.credit import (
    Need,
    PresetConfig,
    column,
    counted,
    credit,
    finish,
    leave_one_out,
    of_turn,
    turn_return,
)
from turngym.trainers.credit.gae_turn import TURN_VALUES, turn_gae
from turngym.trainers.credit.tokens import whiten_turns, whitening
from turngym.trainers.kernels.segment_norm import NormRule
from turngym.trainers.kernels.turn_credit import Norm, TurnPlan
from turngym.trainers.types import Credit, TurnBatch

__all__ = ["GROUNDING", "PROGRESS", "SpaConfig", "spa"]

PROGRESS = Need("progress", "turn", "progress")
"""[K] float32: learnt contribution of each turn to the outcome."""
GROUNDING = Need("grounding", "turn", "grounding")
"""[K] float32: 1 where the turn's action could be executed, else 0."""


class SpaConfig(PresetConfig):
    """Settings of `spa`."""

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "released": {"reward": "time_to_go", "singleton": "raw"}
    }

    type: Literal["spa"] = "spa"
    preset: Literal["paper", "released"] = "paper"
    reward: Literal["progress", "time_to_go"] = "progress"
    progress_weight: float = 1.0
    grounding_weight: float = 0.5
    grounding_offset: float = 0.0
    """Added to g; -1 turns the bonus into a penalty."""
    advantage: Literal["gae", "return"] = "gae"
    gamma: float = Field(default=0.99, ge=0, le=1)
    """Discount per turn."""
    lam: float = Field(default=0.95, ge=0, le=1)
    whiten: bool = True
    singleton: Literal["zero", "raw"] = "zero"
    """`time_to_go` only: what a group of one gets for its outcome."""


def _needs(config: SpaConfig) -> tuple[Need, ...]:
    progress = (PROGRESS,) if config.reward == "progress" else ()
    return (*progress, GROUNDING, *((TURN_VALUES,) if config.advantage == "gae" else ()))


def _plan(config: SpaConfig) -> TurnPlan:
    learnt = config.reward == "progress"
    rule = NormRule(divide=False, singleton=config.singleton)
    grounding = config.grounding_weight
    return TurnPlan(
        score=None if learnt else Norm(rule=rule, leave_one_out=True),
        score_to="advantage" if learnt else "to_go",
        column="grounding",
        weight=grounding,
        other="progress" if learnt else None,
        other_weight=config.progress_weight,
        offset=grounding * config.grounding_offset,
        gamma=config.gamma,
        lam=config.lam if config.advantage == "gae" else None,
        own=float(not config.whiten),
        wide=whitening(config.whiten),
    )


@credit("spa", needs=_needs, plan=_plan)
def spa(batch: TurnBatch, config: SpaConfig) -> Credit:
    """Turn advantages from fused rewards, and the critic's targets if there is one."""
    rewards = (_progress if config.reward == "progress" else _time_to_go)(batch, config)
    rewards = torch.where(batch.turn_mask, rewards, 0)
    if config.advantage == "gae":
        made = turn_gae(batch, rewards, config.gamma, config.lam)
        advantage, returns = made.advantage, made.returns
    else:
        advantage, returns = turn_return(batch, rewards, config.gamma), None
    normed = whiten_turns(advantage, batch)
    turn = normed.values if config.whiten else advantage
    return finish(batch, turn, {"batch": normed}, returns=returns)


def _grounding(batch: TurnBatch, config: SpaConfig) -> Tensor:
    return config.grounding_weight * (column(batch, GROUNDING) + config.grounding_offset)


def _progress(batch: TurnBatch, config: SpaConfig) -> Tensor:
    return config.progress_weight * column(batch, PROGRESS) + _grounding(batch, config)


def _time_to_go(batch: TurnBatch, config: SpaConfig) -> Tensor:
    outcome = leave_one_out(
        batch.outcome,
        batch.group_of_traj,
        batch.num_groups,
        config.singleton,
        mask=counted(batch),
    )
    left = of_turn(batch, batch.cu_turns.diff()) - 1 - batch.turn_index
    return (of_turn(batch, outcome.values) + _grounding(batch, config)) * left
