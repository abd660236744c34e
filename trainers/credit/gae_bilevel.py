"""Bi-level GAE: GAE over turn ends, then token GAE inside each turn towards the turn's return.

    turn:   d_t = r_t + gamma_turn V(end_{t+1}) - V(end_t),  A_t = d_t + gamma_turn lam_turn A_{t+1}
    token:  on the last token of turn t the reward is A_t + V(end_t); GAE(gamma, lam) restarts there

r_t is the turn reward, with the outcome added on the last turn; V(end_t) is the critic's value at
the last sampled token of turn t. Then whitened over trained tokens; `returns` = A + V before.

Source: RAGEN, arXiv 2504.20073, and its code. Deviation: a turn ends where its last sampled token
lies; RAGEN takes every token with a reward other than 0, so that turns without reward vanish. A
turn without tokens has no value and is passed over.

Legend: N tokens, K turns.
"""

from typing import Literal

from pydantic import Field

from turngym.config import Config
from turngym.trainers.credit.credit import column, credit, turn_table
from turngym.trainers.credit.gae_token import TOKEN_VALUES
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

__all__ = ["GaeBilevelConfig", "gae_bilevel"]


class GaeBilevelConfig(Config):
    """Settings of `gae_bilevel`."""

    type: Literal["gae_bilevel"] = "gae_bilevel"
    gamma_turn: float = Field(default=0.95, ge=0, le=1)
    """Discount per turn."""
    lam_turn: float = Field(default=1.0, ge=0, le=1)
    gamma: float = Field(default=1.0, ge=0, le=1)
    """Discount per token inside a turn."""
    lam: float = Field(default=1.0, ge=0, le=1)
    turn_reward_weight: float = 1.0
    whiten: bool = True


def _plan(config: GaeBilevelConfig) -> TokenPlan:
    return TokenPlan(
        gamma=config.gamma_turn,
        lam=config.lam_turn,
        inner_gamma=config.gamma,
        inner_lam=config.lam,
        reward_weight=config.turn_reward_weight,
        own=float(not config.whiten),
        wide=whitening(config.whiten),
    )


@credit("gae_bilevel", needs=(TOKEN_VALUES,), plan=_plan)
def gae_bilevel(batch: TurnBatch, config: GaeBilevelConfig) -> Credit:
    """Token advantages and the critic's targets."""
    view = token_view(batch)
    values = view.rows(column(batch, TOKEN_VALUES))
    high = gae(
        end_rewards(batch, view, config.turn_reward_weight),
        view.at_last(values),
        batch.traj_of_turn,
        config.gamma_turn,
        config.lam_turn,
        mask=view.has_rows,
        table=turn_table(batch),
    )
    target = view.on_last(high.returns)
    low = gae(target, values, view.turn, config.gamma, config.lam, mask=view.mask)
    normed = whiten_tokens(low.advantage, view)
    rows = normed.values if config.whiten else low.advantage
    return token_credit(view, rows, normed, low.returns)
