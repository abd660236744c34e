"""GiGPO: the episode against its group, each step against the steps that left the same state.

    A^E_i     = norm_q(sum_t r_{i,t})
    A^S_{i,t} = norm over (q, anchor_{i,t}) of G_{i,t},    G_{i,t} = sum_{k >= t} gamma^{k-t} r_{i,k}
    A_{i,t}   = A^E_i + omega A^S_{i,t}

norm is x - mean (`mean`), or also divided by the unbiased deviation + 1e-6 (`mean_std`). r is the
turn reward, with the outcome added on the last turn. A state that was left once gives A^S = 0.

Source: arXiv 2505.10978. Preset `released`: the newest verl-agent code, whose episode statistics
count every step, so that long trajectories weigh more, and where a group of one keeps its raw
score. Its grouping of similar states is a matter of how `anchor_of_turn` is made. Reduces to
Dr.GRPO with omega = 0 and no turn rewards.

Legend: K turns, B trajectories.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from turngym.trainers.credit.credit import (
    PresetConfig,
    counted,
    credit,
    finish,
    of_turn,
    scores,
    step_rewards,
    turn_return,
)
from turngym.trainers.kernels.segment_norm import NormRule, Singleton, segment_norm
from turngym.trainers.kernels.turn_credit import Norm, TurnPlan
from turngym.trainers.types import Credit, TurnBatch

__all__ = ["GigpoConfig", "gigpo"]


class GigpoConfig(PresetConfig):
    """Settings of `gigpo`."""

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "released": {"episode_rows": "steps", "singleton": "raw"}
    }

    type: Literal["gigpo"] = "gigpo"
    preset: Literal["paper", "released"] = "paper"
    gamma: float = Field(default=0.95, ge=0, le=1)
    """Discount per turn."""
    omega: float = Field(default=1.0, ge=0)
    """Weight of the step term."""
    norm: Literal["mean", "mean_std"] = "mean"
    episode_rows: Literal["trajectories", "steps"] = "trajectories"
    """What counts once in the episode statistics."""
    turn_reward_weight: float = 1.0
    singleton: Singleton = "zero"
    """What a group of one gets; `raw`: its score, `drop`: no loss."""
    eps: float = Field(default=1e-6, ge=0)


def _plan(config: GigpoConfig) -> TurnPlan:
    rule = NormRule(ddof=1, eps=config.eps, divide=config.norm == "mean_std")
    return TurnPlan(
        score=Norm(
            name="group",
            rule=replace(rule, singleton=config.singleton),
            share="length" if config.episode_rows == "steps" else "row",
        ),
        score_rewards=config.turn_reward_weight,
        column="turn_rewards",
        weight=config.turn_reward_weight,
        known="reward_mask",
        outcome_last=True,
        gamma=config.gamma,
        own=0.0,
        wide=Norm(name="anchor", rule=rule, scope="anchor", weight=config.omega),
    )


@credit("gigpo", plan=_plan)
def gigpo(batch: TurnBatch, config: GigpoConfig) -> Credit:
    """Episode and step advantages, added."""
    divide = config.norm == "mean_std"
    episode = segment_norm(
        scores(batch, config.turn_reward_weight),
        batch.group_of_traj,
        batch.num_groups,
        NormRule(ddof=1, eps=config.eps, divide=divide, singleton=config.singleton),
        mask=counted(batch),
        weight=batch.cu_turns.diff() if config.episode_rows == "steps" else None,
    )
    rewards = step_rewards(batch, config.turn_reward_weight)
    step = segment_norm(
        turn_return(batch, rewards, config.gamma),
        batch.anchor_of_turn,
        batch.num_turns,
        NormRule(ddof=1, eps=config.eps, divide=divide),
        mask=batch.turn_mask,
    )
    return finish(
        batch,
        of_turn(batch, episode.values).add_(step.values, alpha=config.omega),
        {"group": episode, "anchor": step},
        kept=of_turn(batch, episode.kept) if config.singleton == "drop" else None,
    )
