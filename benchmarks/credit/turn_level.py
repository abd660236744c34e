"""Credit methods that run in few launches: the cases, a batch, and what bytes allow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from random_batches import random_batch

from turngym.trainers.credit import CREDITS
from turngym.trainers.kernels.token_credit import TokenPlan
from turngym.trainers.kernels.turn_credit import TurnPlan
from turngym.trainers.types import TurnBatch

TARGET = 3
"""Launches, at most."""
CASES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("grpo", {}),
    ("rloo", {}),
    ("reinforce_pp", {}),
    ("reinforce_pp_baseline", {}),
    ("mapo", {}),
    ("mapo", {"preset": "mica"}),
    ("mapo", {"turn_key": "exchange"}),
    ("a2tgpo", {}),
    ("a2tgpo", {"preset": "released"}),
    ("oprl", {}),
    ("oprl", {"preset": "released"}),
    ("spa", {}),
    ("spa", {"preset": "released"}),
    ("gigpo", {}),
    ("gigpo", {"preset": "released"}),
    ("igpo", {}),
    ("gae_turn", {}),
)
"""Per turn."""
TOKEN_CASES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("reinforce_pp", {"gamma": 0.99}),
    ("gae_token", {}),
    ("gae_bilevel", {}),
)
"""Per token."""


def turn_batch(num_trajectories: int) -> TurnBatch:
    """Trajectories of 20 turns in groups of 8, with every column that a turn-level method reads."""
    batch = random_batch(num_trajectories, shortest=20).with_table()
    draw = torch.Generator().manual_seed(1)
    names = ("info_gain", "step_reward", "progress", "grounding", "values")
    columns = {name: torch.randn(batch.num_turns, generator=draw) for name in names}
    # The last turn answers: it has no gain.
    columns["info_gain_mask"] = batch.turn_index < 19
    return batch.with_columns(turn=columns)


def plan_of(name: str, options: Mapping[str, Any]) -> tuple[Any, TurnPlan | TokenPlan]:
    """The parsed settings of a method, and its plan."""
    method = CREDITS[name]
    config = method.parse(options)
    plan = None if method.plan is None else method.plan(config)
    assert plan is not None, f"{name} {options} has no plan"
    return config, plan


def bytes_moved(batch: TurnBatch, plan: TurnPlan | TokenPlan) -> int:
    """Columns that the plan reads and results that it writes, once each, and what lies open between
    two launches, twice."""
    if isinstance(plan, TokenPlan):
        # turn, value and target, what is open and where, result
        return batch.num_tokens * (8 + 8 * plan.critic + 2 * (4 + 1) + 4)
    turns, trajectories = batch.num_turns, batch.num_trajectories
    columns = [plan.column, plan.other, plan.lam, plan.clip_beta, plan.score_rewards or None]
    per_turn = 4 + 4 * sum(column is not None for column in columns) + (plan.known is not None)
    per_turn += 4 * (plan.lam is not None)  # returns
    scopes = [norm.scope for norm in plan.norms if norm is not None]
    shares = [norm.share for norm in plan.norms if norm is not None]
    per_turn += 8 * ("exchange" in scopes) + 8 * ("anchor" in scopes)
    per_turn += ("trained" in shares) + 9 * ("tokens" in shares)
    per_turn += (plan.second_launch is not None) * 2 * (4 + 1 + 4)
    return turns * per_turn + trajectories * (8 + 8 + 4 + 1)
