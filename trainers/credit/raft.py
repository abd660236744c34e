"""RAFT: imitate the best solved member of each group, leave the rest alone.

    A_i = 1 / (number of solved members with the best score) for those members, 0 for all others

On policy the gradient is that of supervised fine-tuning on the chosen episodes, up to a factor (the
loss divides by all trained tokens, AdamW does not see it); over several steps on a rollout the loss
clips the ratio as in RAFT++. A group that solved nothing teaches nothing.

Source: arXiv 2304.06767, 2504.11343. Deviations: members that tie share what one of them, drawn at
random, would get; `keep = "solved"` is rejection sampling, every solved member gets 1.

Legend: K turns, B trajectories.
"""

from typing import Literal

import torch

from turngym.config import Config
from turngym.trainers.credit.credit import counted, credit, finish, of_turn
from turngym.trainers.types import Credit, TurnBatch

__all__ = ["RaftConfig", "raft"]


class RaftConfig(Config):
    """Settings of `raft`."""

    type: Literal["raft"] = "raft"
    keep: Literal["best", "solved"] = "best"
    """Which solved members of a group are imitated."""


@credit("raft")
def raft(batch: TurnBatch, config: RaftConfig) -> Credit:
    """The same on all turns of a trajectory."""
    group, size = batch.group_of_traj, batch.num_groups
    chosen = counted(batch) & batch.success
    if config.keep == "best":
        scores = batch.outcome.masked_fill(~chosen, -torch.inf)
        best = scores.new_full((size,), -torch.inf).scatter_reduce(0, group, scores, "amax")
        chosen = chosen & (scores == best[group])
    share = chosen.float()
    if config.keep == "best":
        share = share / share.new_zeros(size).index_add(0, group, share)[group].clamp(min=1)
    credit = finish(batch, of_turn(batch, share), {})
    return Credit(turn=credit.turn, metrics={"imitated": chosen.sum()})
