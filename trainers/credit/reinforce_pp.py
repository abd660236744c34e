"""REINFORCE++: discounted return of every token, whitened over the batch.

    G_j = r_j + gamma G_{j+1} over sampled tokens,    A_j = (G_j - mean) / sqrt(var + 1e-8)

The outcome lies on a trajectory's last sampled token, a turn reward on its turn's last. Statistics
over all trained tokens of the batch, unbiased variance. Observation tokens take no time.

Source: arXiv 2501.03262, as verl 0.9.1 (its KL term in the reward is not part of credit). With
gamma = 1 all tokens of a turn are alike, and the work is done per turn with tokens as weights.

Legend: N tokens, K turns.
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from turngym.config import Config
from turngym.trainers.credit.credit import credit, finish, step_rewards, turn_return
from turngym.trainers.credit.tokens import (
    WHITEN,
    TokenView,
    end_rewards,
    token_credit,
    token_view,
    trained_tokens,
    whiten_tokens,
    whiten_turns,
    whitening,
)
from turngym.trainers.kernels.discounted_return import discounted_return
from turngym.trainers.kernels.token_credit import TokenPlan
from turngym.trainers.kernels.turn_credit import Norm, TurnPlan
from turngym.trainers.types import Credit, TurnBatch

__all__ = ["ReinforcePpConfig", "reinforce_pp"]


class ReinforcePpConfig(Config):
    """Settings of `reinforce_pp`."""

    type: Literal["reinforce_pp"] = "reinforce_pp"
    gamma: float = Field(default=1.0, ge=0, le=1)
    """Discount per sampled token."""
    turn_reward_weight: float = 0.0


def _plan(config: ReinforcePpConfig) -> TurnPlan | TokenPlan:
    if config.gamma != 1:
        return TokenPlan(
            gamma=config.gamma,
            reward_weight=config.turn_reward_weight,
            critic=False,
            own=0.0,
            wide=whitening(True),
        )
    return TurnPlan(
        column="turn_rewards",
        weight=config.turn_reward_weight,
        known="reward_mask",
        outcome_last=True,
        gamma=1.0,
        own=0.0,
        wide=Norm(name="batch", rule=WHITEN, scope="batch", share="tokens"),
    )


@credit("reinforce_pp", plan=_plan)
def reinforce_pp(batch: TurnBatch, config: ReinforcePpConfig) -> Credit:
    """Whitened returns, per turn where gamma is 1, else per token."""
    if config.gamma == 1:
        rewards = step_rewards(batch, config.turn_reward_weight)
        ahead = turn_return(batch, rewards, 1.0)
        normed = whiten_turns(ahead, batch, trained_tokens(batch))
        return finish(batch, normed.values, {"batch": normed})
    view = token_view(batch)
    normed = whiten_tokens(_returns(batch, view, config), view)
    return token_credit(view, normed.values, normed)


def _returns(batch: TurnBatch, view: TokenView, config: ReinforcePpConfig) -> Tensor:
    """[n] returns of the view's rows: only the last of a turn has a reward, the others discount it."""
    so_far = view.counts.cumsum(0)
    at_last = discounted_return(
        end_rewards(batch, view, config.turn_reward_weight),
        batch.traj_of_turn,
        config.gamma,
        time=so_far,
    )
    left = view.of_turn(so_far.int()).sub_(view.places())
    # exp is four times faster than a power; what is lost is less than the rounding of the last.
    return torch.exp(left * math.log(max(config.gamma, 1e-38))).mul_(view.of_turn(at_last))
