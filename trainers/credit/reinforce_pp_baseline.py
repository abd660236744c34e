"""REINFORCE++-baseline: the outcome less the group's mean, whitened over the batch's tokens.

    A_{i,t} = (x_i - mean x) / sqrt(var x + 1e-8),    x_i = s_i - mean_q s

The second mean and the unbiased variance count each trained token, so that long trajectories weigh
more; both are made per turn with tokens as weights.

Source: arXiv 2501.03262, as verl 0.9.1. Deviations: a group of one gives x = 0 and is counted
(`singleton = "raw"` leaves the score, as verl does).

Legend: K turns, B trajectories.
"""

from typing import Literal

from turngym.config import Config
from turngym.trainers.credit.credit import counted, credit, finish, of_turn, scores
from turngym.trainers.credit.tokens import WHITEN, trained_tokens, whiten_turns
from turngym.trainers.kernels.segment_norm import NormRule, segment_norm
from turngym.trainers.kernels.turn_credit import Norm, TurnPlan
from turngym.trainers.types import Credit, TurnBatch

__all__ = ["ReinforcePpBaselineConfig", "reinforce_pp_baseline"]


class ReinforcePpBaselineConfig(Config):
    """Settings of `reinforce_pp_baseline`."""

    type: Literal["reinforce_pp_baseline"] = "reinforce_pp_baseline"
    turn_reward_weight: float = 0.0
    """Weight of the summed turn rewards in the score; 0: the outcome alone."""
    singleton: Literal["zero", "raw"] = "zero"
    """What a group of one gets before the whitening; `raw`: its score."""


def _plan(config: ReinforcePpBaselineConfig) -> TurnPlan:
    return TurnPlan(
        score=Norm(name="group", rule=NormRule(divide=False, singleton=config.singleton)),
        score_rewards=config.turn_reward_weight,
        score_to="every",
        own=0.0,
        wide=Norm(name="batch", rule=WHITEN, scope="batch", share="tokens"),
    )


@credit("reinforce_pp_baseline", plan=_plan)
def reinforce_pp_baseline(batch: TurnBatch, config: ReinforcePpBaselineConfig) -> Credit:
    """The whitened group-centred score of each trajectory on all its turns."""
    centred = segment_norm(
        scores(batch, config.turn_reward_weight),
        batch.group_of_traj,
        batch.num_groups,
        NormRule(divide=False, singleton=config.singleton),
        mask=counted(batch),
    )
    normed = whiten_turns(of_turn(batch, centred.values), batch, trained_tokens(batch))
    return finish(batch, normed.values, {"group": centred, "batch": normed})
