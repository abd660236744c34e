"""Token GAE (PPO): a critic's value at every sampled token.

    d_j = r_j + gamma V_next - V_j,    A_j = d_j + gamma lam A_next,    then whitened

`next` is the next sampled token: V and A are carried over observation tokens. The outcome lies on a
trajectory's last sampled token, a turn reward on its turn's last. `returns` = A + V before the
whitening.

Source: arXiv 1506.02438, 1707.06347, as verl 0.9.1. `time = "turn"` discounts by the turns that lie
between two tokens instead of by tokens, so that the length of a turn costs nothing.

Legend: N tokens, K turns.
"""

from typing import Literal

from pydantic import Field

from turngym.config import Config
from turngym.trainers.credit.credit import Need, column, credit
from turngym.trainers.credit.tokens import (
    end_rewards,
    token_credit,
    token_view,
    whiten_tokens,
    whitening,
)
from turngym.trainers.kernels.gae import gae
from turngym.trainers.kernels.token_credit import TokenPlan
from turngym.trainers.types import Credit, TurnBatch

__all__ = ["TOKEN_VALUES", "GaeTokenConfig", "gae_token"]

TOKEN_VALUES = Need("values", "token", "values")
"""[N] float32: the critic's value in the state before each token; read at sampled tokens only."""


class GaeTokenConfig(Config):
    """Settings of `gae_token`."""

    type: Literal["gae_token"] = "gae_token"
    gamma: float = Field(default=1.0, ge=0, le=1)
    lam: float = Field(default=1.0, ge=0, le=1)
    time: Literal["token", "turn"] = "token"
    """Unit of time of gamma and lam."""
    turn_reward_weight: float = 1.0
    whiten: bool = True


def _plan(config: GaeTokenConfig) -> TokenPlan:
    return TokenPlan(
        gamma=config.gamma,
        lam=config.lam,
        turn_time=config.time == "turn",
        reward_weight=config.turn_reward_weight,
        own=float(not config.whiten),
        wide=whitening(config.whiten),
    )


@credit("gae_token", needs=(TOKEN_VALUES,), plan=_plan)
def gae_token(batch: TurnBatch, config: GaeTokenConfig) -> Credit:
    """Token advantages and the critic's targets."""
    view = token_view(batch)
    made = gae(
        view.on_last(end_rewards(batch, view, config.turn_reward_weight)),
        view.rows(column(batch, TOKEN_VALUES)),
        view.of_turn(batch.traj_of_turn.int()),
        config.gamma,
        config.lam,
        mask=view.mask,
        time=view.of_turn(batch.turn_index) if config.time == "turn" else None,
    )
    normed = whiten_tokens(made.advantage, view)
    rows = normed.values if config.whiten else made.advantage
    return token_credit(view, rows, normed, made.returns)
