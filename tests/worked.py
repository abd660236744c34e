"""The batch of the worked examples: prompt p0 -> a (3 turns), b (2), c (3); p1 -> d (2), e (1).

(p0, turn 3) has two members, (p1, turn 2) one; two tokens per turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from batches import Traj, make_batch
from turngym.trainers.types import Credit, TurnBatch

Rows = Sequence[Sequence[float]]

GROUPS = (0, 0, 0, 1, 1)
LENGTHS = (3, 2, 3, 2, 1)
SUCCESS = (1.0, 0.0, 0.0, 1.0, 0.0)

REWARDS = ((1, 3, -1), (0, 1), (2, -1, 1), (1, 1), (-1,))
"""MAPO: fall of the distance to the target, 5 -> 4 -> 1 -> 2 for a."""
GAIN_OUTCOME = (1.0, 0.0, 1.0, 0.0, -1.0)
GAINS = ((0.30, 0.10, 0), (0.10, 0), (-0.10, 0.40, 0), (0.20, 0), (0,))
HAS_GAIN = ((1, 1, 0), (1, 0), (1, 1, 0), (1, 0), (0,))
STEP_REWARDS = ((0.1, 0.2, 0), (-0.05, 0.05), (0, -0.1, 0.05), (0.05, 0.15), (-0.1,))
PROGRESS = ((0.2, 0.3, 0.4), (0.1, 0), (0, 0.1, 0.1), (0.5, 0.6), (0.2,))
PROGRESS_OUTCOME = (1.0, 0.0, 0.5, 1.0, 0.0)
GROUNDING = ((1, 0, 1), (1, 1), (0, 1, 1), (1, 1), (0,))
# All first states of a prompt are alike, and so are the second ones of a and b.
ANCHORS = ((0, 1, 2), (0, 1), (0, 3, 4), (5, 6), (5,))


TURN_ONLY = {"turn_weight": 1.0, "wide_weight": 0.0}
WIDE_ONLY = {"turn_weight": 0.0, "wide_weight": 1.0}
GROUP_REWARD = {"wide_scope": "group", "wide_input": "reward"}
BATCH_REWARD = {"wide_input": "reward"}
RETURN = {"advantage": "return", "whiten": False}


def worked(
    outcome: Sequence[float] = SUCCESS,
    rewards: Sequence[Sequence[float | None]] | None = None,
    **columns: Rows,
) -> TurnBatch:
    """The batch with these outcomes, turn rewards (None: no turn has one) and turn columns."""
    given = rewards or [[None] * length for length in LENGTHS]
    batch = make_batch(
        [
            Traj(
                group=GROUPS[i],
                rewards=given[i],
                outcome=outcome[i],
                anchor=ANCHORS[i],
                columns={name: rows[i] for name, rows in columns.items()},
            )
            for i in range(5)
        ]
    )
    if "info_gain_mask" in batch.turn_columns:
        return batch.with_columns(turn={"info_gain_mask": batch.turn_columns["info_gain_mask"] > 0})
    return batch


def emotional() -> TurnBatch:
    return worked(rewards=REWARDS)


def searching() -> TurnBatch:
    return worked(GAIN_OUTCOME, info_gain=GAINS, info_gain_mask=HAS_GAIN)


def shopping() -> TurnBatch:
    return worked(step_reward=STEP_REWARDS)


def exploring() -> TurnBatch:
    return worked(PROGRESS_OUTCOME, progress=PROGRESS, grounding=GROUNDING)


def flat(rows: Rows | Sequence[float] | Mapping[str, Sequence[float] | float]) -> Tensor:
    """[11] one number per turn; one number for a trajectory stands on all its turns."""
    values = list(rows.values()) if isinstance(rows, Mapping) else list(rows)
    result: list[float] = []
    for value, length in zip(values, LENGTHS, strict=True):
        result += [value] * length if isinstance(value, (int, float)) else list(value)
    return torch.tensor(result, dtype=torch.float32)


def check(got: Tensor | Credit, expected: Rows | Sequence[float]) -> None:
    """Equal to the worked numbers within 1e-5 (they have six digits)."""
    actual = got.turn if isinstance(got, Credit) else got
    torch.testing.assert_close(actual, flat(expected), rtol=0, atol=1e-5)
