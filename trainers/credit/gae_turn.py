"""Turn GAE: one action per turn, one value per turn, GAE over turns.

    d_t = r_t + gamma V_{t+1} - V_t,    A_t = d_t + gamma lam A_{t+1},    then whitened over turns

r_t is the turn reward, with the outcome added on the last turn. V_t is the critic's value of the
state before turn t. `returns` = A + V before the whitening.

Source: the turn-level Markov decision process of Turn-PPO and VAGEN; GAE is arXiv 1506.02438.
Deviation: whitening counts turns, not tokens. Reduces to outcome minus value with gamma = lam = 1
and no turn rewards.

Legend: K turns.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from turngym.config import Config
from turngym.trainers.credit.credit import Need, column, credit, finish, step_rewards, turn_table
from turngym.trainers.credit.tokens import whiten_turns, whitening
from turngym.trainers.kernels.gae import Advantages, gae
from turngym.trainers.kernels.turn_credit import TurnPlan
from turngym.trainers.types import Credit, TurnBatch

__all__ = ["TURN_VALUES", "GaeTurnConfig", "gae_turn", "turn_gae"]

TURN_VALUES = Need("values", "turn", "values")
"""[K] float32: the critic's value in the state before each turn."""


class GaeTurnConfig(Config):
    """Settings of `gae_turn`."""

    type: Literal["gae_turn"] = "gae_turn"
    gamma: float = Field(default=0.99, ge=0, le=1)
    lam: float = Field(default=0.95, ge=0, le=1)
    turn_reward_weight: float = 1.0
    whiten: bool = True


def _plan(config: GaeTurnConfig) -> TurnPlan:
    return TurnPlan(
        column="turn_rewards",
        weight=config.turn_reward_weight,
        known="reward_mask",
        outcome_last=True,
        gamma=config.gamma,
        lam=config.lam,
        own=float(not config.whiten),
        wide=whitening(config.whiten),
    )


@credit("gae_turn", needs=(TURN_VALUES,), plan=_plan)
def gae_turn(batch: TurnBatch, config: GaeTurnConfig) -> Credit:
    """Turn advantages and the critic's targets."""
    rewards = step_rewards(batch, config.turn_reward_weight)
    made = turn_gae(batch, rewards, config.gamma, config.lam)
    normed = whiten_turns(made.advantage, batch)
    turn = normed.values if config.whiten else made.advantage
    return finish(batch, turn, {"batch": normed}, returns=made.returns)


def turn_gae(batch: TurnBatch, rewards: Tensor, gamma: float, lam: float) -> Advantages:
    """GAE over turns on `rewards` [K] with the critic's turn values.

    Raises:
        UsageError: the batch has no turn values.
    """
    values = torch.where(batch.turn_mask, column(batch, TURN_VALUES), 0)
    return gae(rewards, values, batch.traj_of_turn, gamma, lam, table=turn_table(batch))
