"""REINFORCE++: discounted return of every token, whitened over the batch.

    G_j = r_j + gamma G_{j+1} over sampled tokens,    A_j = (G_j - mean) / sqrt(var + 1e-8)

The outcome lies on a trajectory's last sampled token, a turn reward on its turn's last. Statistics
over all trained tokens of the batch, unbiased variance. Observation tokens take no time.

Source: arXiv 2501.03262, as verl 0.9.1 (its KL term in the reward is not part of credit). With
gamma = 1 all tokens of a turn are alike, and the work is done per turn with tokens as weights.

Legend: N tokens, K turns.
"""

from typing import Literal

from pydantic import Field

from turngym.config import Config
from turngym.trainers.credit.credit import credit, finish, norm_metrics, step_rewards, turn_return
from turngym.trainers.credit.tokens import (
    token_rewards,
    token_view,
    trained_tokens,
    turn_means,
    whiten_tokens,
    whiten_turns,
)
from turngym.trainers.kernels.discounted_return import discounted_return
from turngym.trainers.types import Credit, TurnBatch

__all__ = ["ReinforcePpConfig", "reinforce_pp"]


class ReinforcePpConfig(Config):
    """Settings of `reinforce_pp`."""

    type: Literal["reinforce_pp"] = "reinforce_pp"
    gamma: float = Field(default=1.0, ge=0, le=1)
    """Discount per sampled token."""
    turn_reward_weight: float = 0.0


@credit("reinforce_pp")
def reinforce_pp(batch: TurnBatch, config: ReinforcePpConfig) -> Credit:
    """Whitened returns, per turn where gamma is 1, else per token."""
    if config.gamma == 1:
        rewards = step_rewards(batch, config.turn_reward_weight)
        ahead = turn_return(batch, rewards, 1.0)
        normed = whiten_turns(ahead, batch, trained_tokens(batch))
        return finish(batch, normed.values, {"batch": normed})
    view = token_view(batch)
    rewards = token_rewards(batch, view, config.turn_reward_weight)
    ahead = discounted_return(rewards, view.traj, config.gamma, mask=view.mask)
    normed = whiten_tokens(ahead, view)
    return Credit(
        turn=turn_means(batch, normed.values),
        token=normed.values,
        metrics=norm_metrics({"batch": normed}),
    )
