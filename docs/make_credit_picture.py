"""Draws docs/credit.png: one trajectory of a made-up group, credited by every method.

python docs/make_credit_picture.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes

from turngym.trainers.credit import CREDITS
from turngym.trainers.types import TurnBatch

TURNS = ("search", "open item", "wrong size\n(refused)", "back", "open item", "buy")
LENGTHS = (6, 5, 6, 3)
OUTCOME = (1.0, 0.0, 1.0, 0.0)
TOKENS_PER_TURN = 4
# The first row is the trajectory of the picture, the others are the rest of its group.
REWARD = (
    (0.1, 0.2, -0.3, 0, 0.3, 0.4),
    (0.1, 0, -0.1, 0, 0),
    (0, 0.2, 0, 0.1, 0.2, 0.4),
    (0, 0, 0),
)
GAIN = ((0.2, 0.1, -0.1, 0, 0.3), (0.1, 0, 0, -0.1), (0.1, 0.2, 0.1, 0, 0.1), (0, -0.1))
PROGRESS = ((0.1, 0.2, -0.1, 0.1, 0.3, 0.4), (0.1, 0, 0, 0, -0.1), (0.1, 0.2, 0.2, 0.1, 0.2, 0.2))
GROUNDING = ((1, 1, 0, 1, 1, 1), (1, 1, 1, 0, 1), (1,) * 6, (1, 0, 1))
VALUES = ((0.5, 0.6, 0.7, 0.4, 0.5, 0.8), (0.5, 0.5, 0.4, 0.3, 0.2), (0.5, 0.5, 0.6, 0.7, 0.8, 0.9))
STATE = ((0, 1, 2, 3, 1, 4), (0, 1, 2, 3, 5), (0, 1, 6, 7, 8, 4), (0, 9, 10))


def column(rows: tuple[tuple[float, ...], ...]) -> torch.Tensor:
    """[K] the rows one after the other, filled up with zeros where a row is shorter or missing."""
    padded = [*rows, *[()] * (len(LENGTHS) - len(rows))]
    filled = [[*row, *[0.0] * (n - len(row))] for row, n in zip(padded, LENGTHS, strict=True)]
    return torch.tensor([float(value) for row in filled for value in row])


def make_batch() -> TurnBatch:
    """The group, with every column that any method needs."""
    lengths = torch.tensor(LENGTHS)
    k, b = int(lengths.sum()), len(LENGTHS)
    cu_turns = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    traj = torch.repeat_interleave(torch.arange(b), lengths)
    turn = torch.arange(k) - cu_turns[traj]
    n = k * TOKENS_PER_TURN
    turn_of_token = torch.arange(k).repeat_interleave(TOKENS_PER_TURN)
    values = column(VALUES)
    batch = TurnBatch(
        token_ids=torch.zeros(n, dtype=torch.int64),
        turn_of_token=turn_of_token,
        sampled_logprobs=torch.full((n,), -1.0),
        cu_tokens=cu_turns * TOKENS_PER_TURN,
        traj_of_segment=torch.arange(b),
        traj_of_turn=traj,
        cu_turns=cu_turns,
        turn_index=turn,
        exchange_of_turn=torch.zeros(k, dtype=torch.int64),
        anchor_of_turn=column(STATE).long(),
        turn_rewards=column(REWARD),
        reward_mask=torch.ones(k, dtype=torch.bool),
        loss_mask=torch.ones(k, dtype=torch.bool),
        turn_status=torch.zeros(k, dtype=torch.int8),
        temperature=torch.ones(k),
        policy_version=torch.zeros(k, dtype=torch.int64),
        group_of_traj=torch.zeros(b, dtype=torch.int64),
        outcome=torch.tensor(OUTCOME),
        success=torch.tensor(OUTCOME) > 0,
        truncated=torch.zeros(b, dtype=torch.bool),
        traj_mask=torch.ones(b, dtype=torch.bool),
        num_groups=1,
        max_turns=max(LENGTHS),
        token_columns={"values": values[turn_of_token]},
        turn_columns={
            "info_gain": column(GAIN),
            "info_gain_mask": turn < lengths[traj] - 1,
            "step_reward": 0.5 * column(GAIN) + 0.2 * column(REWARD),
            "progress": column(PROGRESS),
            "grounding": column(GROUNDING),
            "values": values,
        },
    )
    batch.validate()
    return batch


BANDS = (
    ("per episode", ("grpo", "rloo", "raft", "reinforce_pp", "reinforce_pp_baseline")),
    ("per turn", ("gigpo", "mapo", "igpo", "a2tgpo", "oprl", "spa")),
    ("with a critic", ("gae_turn", "gae_token", "gae_bilevel")),
)


def main() -> None:
    """Compute and draw."""
    batch = make_batch()
    shown = LENGTHS[0]
    inputs = {
        "outcome": column(((0,) * (shown - 1) + (1,),)),
        "turn reward": batch.turn_rewards,
        "information gain": batch.turn_columns["info_gain"],
        "progress (learnt)": batch.turn_columns["progress"],
        "critic's value": batch.turn_columns["values"],
    }
    blank = {("outcome", place) for place in range(shown - 1)} | {("information gain", shown - 1)}
    assert sorted(name for _, names in BANDS for name in names) == list(CREDITS)
    tables = [("what the\nmethods see", inputs)] + [
        (band, {name: CREDITS[name](batch).turn for name in names}) for band, names in BANDS
    ]
    figure, axes = plt.subplots(
        len(tables), 1, figsize=(8.6, 9.2), sharex=True, layout="constrained",
        height_ratios=[len(rows) for _, rows in tables],
    )  # fmt: skip
    figure.suptitle(
        "One successful trajectory (group of four, two solved), credited by every method",
        fontsize=11,
    )
    for axis, (title, rows) in zip(axes, tables, strict=True):
        draw(axis, title, {name: values[:shown] for name, values in rows.items()}, blank)
    figure.align_ylabels(axes)
    axes[0].xaxis.tick_top()
    axes[0].tick_params(labeltop=True)
    axes[-1].set_xticks(range(shown), TURNS, fontsize=9)
    figure.supxlabel(
        "default settings; methods per token: mean of the turn. "
        "Colour: sign and size within each row (purple +, orange \u2212).",
        fontsize=8,
    )
    figure.savefig(Path(__file__).with_name("credit.png"), dpi=110)


def draw(
    axis: Axes, title: str, rows: dict[str, torch.Tensor], blank: set[tuple[str, int]]
) -> None:
    """One band: a row of coloured numbers for each entry; `blank` ones do not exist."""
    table = np.array([values.tolist() for values in rows.values()])
    scale = np.abs(table).max(axis=1, keepdims=True)
    axis.imshow(table / scale, cmap="PuOr", vmin=-1.5, vmax=1.5, aspect="auto")
    axis.set_ylabel(title, fontsize=9, fontweight="bold")
    axis.set_yticks(range(len(rows)), list(rows), fontsize=9)
    axis.tick_params(length=0, labelsize=9)
    axis.spines[:].set_visible(False)
    for line in range(1, table.shape[1]):
        axis.axvline(line - 0.5, color="white", linewidth=1.5)
    for line in range(1, table.shape[0]):
        axis.axhline(line - 0.5, color="white", linewidth=1.5)
    for (row, place), value in np.ndenumerate(table):
        if (list(rows)[row], place) in blank:
            continue
        text = "0" if round(value, 2) == 0 else f"{value:+.2f}".replace("-", "\u2212")
        ink = "white" if value > 0.75 * scale[row, 0] else "black"
        axis.text(place, row, text, ha="center", va="center", fontsize=9, color=ink)


if __name__ == "__main__":
    main()
