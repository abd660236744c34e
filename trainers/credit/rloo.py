"""RLOO: the outcome less the mean outcome of the others in the group.

    A_{i,t} = s_i - mean_{j != i, same q} s_j = N / (N - 1) (s_i - mean_q s)

Source: arXiv 2402.14740. Deviations: a group of one gives 0 and is counted, as verl's
`rloo_vectorized` does; verl's `rloo` leaves the raw score (`singleton = "raw"`). Reduces to
Dr.GRPO times N / (N - 1).

Legend: K turns, B trajectories.
"""

from typing import Literal

from turngym.config import Config
from turngym.trainers.credit.credit import counted, credit, finish, leave_one_out, of_turn, scores
from turngym.trainers.kernels.segment_norm import NormRule, Singleton
from turngym.trainers.kernels.turn_credit import Norm, TurnPlan
from turngym.trainers.types import Credit, TurnBatch

__all__ = ["RlooConfig", "rloo"]


class RlooConfig(Config):
    """Settings of `rloo`."""

    type: Literal["rloo"] = "rloo"
    turn_reward_weight: float = 0.0
    """Weight of the summed turn rewards in the score; 0: the outcome alone."""
    singleton: Singleton = "zero"
    """What a group of one gets; `raw`: its score, `drop`: no loss."""


def _plan(config: RlooConfig) -> TurnPlan:
    rule = NormRule(divide=False, singleton=config.singleton)
    score = Norm(name="group", rule=rule, leave_one_out=True)
    return TurnPlan(score=score, score_rewards=config.turn_reward_weight)


@credit("rloo", plan=_plan)
def rloo(batch: TurnBatch, config: RlooConfig) -> Credit:
    """The leave-one-out score of each trajectory on all its turns."""
    normed = leave_one_out(
        scores(batch, config.turn_reward_weight),
        batch.group_of_traj,
        batch.num_groups,
        config.singleton,
        mask=counted(batch),
    )
    kept = of_turn(batch, normed.kept) if config.singleton == "drop" else None
    return finish(batch, of_turn(batch, normed.values), {"group": normed}, kept=kept)
