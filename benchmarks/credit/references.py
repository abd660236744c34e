"""References of our own that stand for what others do: loops over Python floats, NumPy, and the
published forms that cost a loop per token or a search per row. None is copied from anywhere.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = list[float]
Rows = list[Floats]
Array = npt.NDArray[Any]


def returns_of(rewards: Floats, gamma: float) -> Floats:
    """Discounted returns of one trajectory."""
    result, ahead = [0.0] * len(rewards), 0.0
    for t in range(len(rewards) - 1, -1, -1):
        ahead = rewards[t] + gamma * ahead
        result[t] = ahead
    return result


def _z_scores(values: Floats, eps: float) -> Floats:
    mean = sum(values) / len(values)
    std = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    if len(values) == 1 or std < 1e-8:
        return [0.0] * len(values)
    return [(value - mean) / (std + eps) for value in values]


def mapo_floats(rewards: Rows, group: list[int], gamma: float) -> Rows:
    """MAPO with plain Python floats, one pass per trajectory and one per (group, turn)."""
    returns = [returns_of(row, gamma) for row in rewards]
    near: dict[tuple[int, int], list[tuple[int, float]]] = defaultdict(list)
    for b, row in enumerate(returns):
        for t, value in enumerate(row):
            near[group[b], t].append((b, value))
    result = [[0.0] * len(row) for row in returns]
    for (_, t), members in near.items():
        scores = _z_scores([value for _, value in members], 1e-8)
        for (b, _), score in zip(members, scores, strict=True):
            result[b][t] = 0.5 * score
    wide = iter(_z_scores([value for row in returns for value in row], 1e-8))
    return [[value + 0.5 * next(wide) for value in row] for row in result]


def mapo_numpy(
    rewards: Array, cu_turns: Array, traj: Array, index: Array, group: Array, gamma: float
) -> Array:
    """MAPO in NumPy: one step per turn position, statistics by `bincount`."""
    returns = rewards.astype(np.float64)
    longest = int(index.max()) + 1
    lengths = np.diff(cu_turns)
    for t in range(longest - 2, -1, -1):
        rows = cu_turns[:-1][lengths > t + 1] + t
        returns[rows] += gamma * returns[rows + 1]
    key = group[traj] * longest + index

    def z_scores(key: Array, size: int) -> Array:
        count = np.bincount(key, minlength=size)
        mean = np.bincount(key, returns, size) / np.maximum(count, 1)
        centred = returns - mean[key]
        std = np.sqrt(np.bincount(key, centred**2, size) / np.maximum(count, 1))
        flat = (std < 1e-8) | (count <= 1)
        return np.where(flat[key], 0, centred / (std[key] + 1e-8))

    size = (int(group.max()) + 1) * longest
    return 0.5 * z_scores(key, size) + 0.5 * z_scores(np.zeros_like(key), 1)


def gigpo_floats(
    rewards: Rows, outcome: Floats, anchors: list[list[int]], group: list[int], gamma: float
) -> Rows:
    """GiGPO (mean norm) with plain Python floats and a dictionary of states."""
    scores: dict[int, Floats] = defaultdict(list)
    totals = [sum(row) + outcome[b] for b, row in enumerate(rewards)]
    for b, total in enumerate(totals):
        scores[group[b]].append(total)
    baseline = {g: sum(values) / len(values) for g, values in scores.items()}
    states: dict[tuple[int, int], Floats] = defaultdict(list)
    returns = []
    for b, row in enumerate(rewards):
        steps = returns_of([*row[:-1], row[-1] + outcome[b]], gamma)
        returns.append(steps)
        for t, value in enumerate(steps):
            states[group[b], anchors[b][t]].append(value)
    means = {state: sum(values) / len(values) for state, values in states.items()}
    return [
        [
            (totals[b] - baseline[group[b]]) * (len(scores[group[b]]) > 1)
            + value
            - means[group[b], anchors[b][t]]
            for t, value in enumerate(row)
        ]
        for b, row in enumerate(returns)
    ]


def gigpo_quadratic(
    rewards: Array, traj: Array, outcome: Array, anchor: Array, group: Array, gamma: float
) -> Array:
    """GiGPO in its published form: for every row, a search through all rows."""
    rewards = rewards.astype(np.float64).copy()
    returns = np.empty_like(rewards)
    total = np.empty_like(rewards)
    for b in np.unique(traj):
        rows = np.where(traj == b)[0]
        rewards[rows[-1]] += outcome[b]
        returns[rows] = returns_of(rewards[rows].tolist(), gamma)
        total[rows] = rewards[rows].sum()
    owner = group[traj]
    step, episode = np.empty_like(rewards), np.empty_like(rewards)
    first = np.unique(traj, return_index=True)[1]
    for row in range(len(rewards)):
        same = np.where((owner == owner[row]) & (anchor == anchor[row]))[0]
        step[row] = returns[row] - returns[same].mean()
        peers = total[first][group == owner[row]]
        episode[row] = (total[row] - peers.mean()) * (len(peers) > 1)
    return step + episode


def bilevel_per_token(
    turn_rewards: Floats, outcome: Floats, values: Rows, turns: list[list[int]], gamma_turn: float
) -> Rows:
    """Bi-level GAE, lambda = 1 and token discount 1: a Python loop over tokens, twice.

    `values` and `turns` hold the sampled tokens of each trajectory.
    """
    result = []
    for b, (value, turn) in enumerate(zip(values, turns, strict=True)):
        n = len(turn)
        ends = [j for j in range(n) if j + 1 == n or turn[j + 1] != turn[j]]
        target, ahead, next_value = {}, 0.0, 0.0
        for j in reversed(ends):
            reward = turn_rewards[turn[j]] + (outcome[b] if j + 1 == n else 0.0)
            ahead = reward + gamma_turn * next_value - value[j] + gamma_turn * ahead
            next_value = value[j]
            target[j] = ahead + value[j]
        row, ahead, next_value = [0.0] * n, 0.0, 0.0
        for j in range(n - 1, -1, -1):
            if j in target:
                ahead, next_value = 0.0, 0.0
            ahead = target.get(j, 0.0) + next_value - value[j] + ahead
            next_value = value[j]
            row[j] = ahead
        result.append(row)
    return result


def bilevel_tensors(
    rewards: Tensor, values: Tensor, ends: Tensor, gamma_turn: float
) -> list[list[Tensor]]:
    """Bi-level GAE in its published form: a loop per token over elements of tensors.

    Args:
        rewards, values, ends: [B, T] sampled tokens; `ends` 1 at a turn's last; rows end at the
            last such token.
    """
    result = []
    for b in range(rewards.shape[0]):
        length = int(ends[b].nonzero().max()) + 1
        target, ahead, next_value = rewards[b].clone(), torch.tensor(0.0), torch.tensor(0.0)
        for j in range(length - 1, -1, -1):
            if ends[b, j]:
                ahead = rewards[b, j] + gamma_turn * next_value - values[b, j] + gamma_turn * ahead
                next_value = values[b, j]
                target[j] = ahead + values[b, j]
        row, ahead, next_value = [], torch.tensor(0.0), torch.tensor(0.0)
        for j in range(length - 1, -1, -1):
            if ends[b, j]:
                ahead, next_value = torch.tensor(0.0), torch.tensor(0.0)
            ahead = target[j] + next_value - values[b, j] + ahead
            next_value = values[b, j]
            row.append(ahead)
        result.append(row[::-1])
    return result
