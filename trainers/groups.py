"""Groups that lost too many of their members.

Legend: K turns, B trajectories, G groups.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from turngym.errors import NotTheAgentsFault
from turngym.trainers.types import TurnBatch

__all__ = ["drop_small_groups"]


def drop_small_groups(batch: TurnBatch, minimum: int) -> tuple[TurnBatch, int]:
    """The batch without groups in which fewer than `minimum` trajectories count, and their number.

    A dropped trajectory keeps its rows with `traj_mask` false, like one that broke: it enters
    neither loss nor baseline.

    Raises:
        NotTheAgentsFault: no group is left.
    """
    counts = torch.zeros(batch.num_groups, dtype=torch.int64, device=batch.device)
    counts.index_add_(0, batch.group_of_traj, batch.traj_mask.long())
    kept = batch.traj_mask & (counts >= minimum)[batch.group_of_traj]
    if not bool(kept.any()):
        raise NotTheAgentsFault(
            f"no group has {minimum} members left to train on; counted members of each: "
            f"{counts.tolist()}"
        )
    dropped = int((counts < minimum).sum())
    if not dropped:
        return batch, 0
    outcome = batch.outcome.masked_fill(~kept, 0)
    return replace(batch, traj_mask=kept, outcome=outcome, success=batch.success & kept), dropped
