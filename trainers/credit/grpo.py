"""GRPO: the outcome against the group's, for every turn alike.

    A_{i,t} = (s_i - mean_q s) / (std_q s + 1e-6)        s_i = R_i + w sum_t r_{i,t}

Source: GRPO, arXiv 2402.03300; Dr.GRPO, arXiv 2503.20783 (preset `dr_grpo`: only the mean).
Deviations: a group of one and a group of equal scores give exactly 0 and are counted; verl leaves
the raw score in the first case (`singleton = "raw"`). DAPO uses this credit with clip-higher and
drops the groups that `group_flat` counts while it samples.

Legend: K turns, B trajectories.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from turngym.trainers.credit.credit import PresetConfig, counted, credit, finish, of_turn, scores
from turngym.trainers.kernels.segment_norm import NormRule, Singleton, segment_norm
from turngym.trainers.kernels.turn_credit import Norm, TurnPlan
from turngym.trainers.types import Credit, TurnBatch

__all__ = ["GrpoConfig", "grpo"]


class GrpoConfig(PresetConfig):
    """Settings of `grpo`."""

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"dr_grpo": {"divide_by_std": False}}

    type: Literal["grpo"] = "grpo"
    preset: Literal["grpo", "dr_grpo"] = "grpo"
    divide_by_std: bool = True
    turn_reward_weight: float = 0.0
    """Weight of the summed turn rewards in the score; 0: the outcome alone."""
    singleton: Singleton = "zero"
    """What a group of one gets; `raw`: its score, `drop`: no loss."""
    ddof: int = Field(default=1, ge=0, le=1)
    eps: float = Field(default=1e-6, ge=0)


def _rule(config: GrpoConfig) -> NormRule:
    return NormRule(
        ddof=config.ddof,
        eps=config.eps,
        divide=config.divide_by_std,
        singleton=config.singleton,
    )


def _plan(config: GrpoConfig) -> TurnPlan:
    score = Norm(name="group", rule=_rule(config))
    return TurnPlan(score=score, score_rewards=config.turn_reward_weight)


@credit("grpo", plan=_plan)
def grpo(batch: TurnBatch, config: GrpoConfig) -> Credit:
    """The group-normalised score of each trajectory on all its turns."""
    normed = segment_norm(
        scores(batch, config.turn_reward_weight),
        batch.group_of_traj,
        batch.num_groups,
        _rule(config),
        mask=counted(batch),
    )
    kept = of_turn(batch, normed.kept) if config.singleton == "drop" else None
    return finish(batch, of_turn(batch, normed.values), {"group": normed}, kept=kept)
