"""Credit methods: what they are, how they are registered, and what they all share.

    class MineConfig(Config):
        type: Literal["mine"] = "mine"

    @credit("mine")
    def mine(batch: TurnBatch, config: MineConfig) -> Credit:
        return finish(batch, of_turn(batch, batch.outcome), {})

Legend: N tokens, K turns, B trajectories, G groups.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Literal, TypeVar

import torch
from pydantic import model_validator
from torch import Tensor

from turngym.config import Config, parse
from turngym.errors import UsageError
from turngym.registry import Registry
from turngym.trainers.kernels.discounted_return import Table, discounted_return
from turngym.trainers.kernels.segment_norm import Normed, NormRule, Singleton, segment_norm
from turngym.trainers.kernels.segment_sum import segment_sum
from turngym.trainers.kernels.spread import spread
from turngym.trainers.kernels.token_credit import TokenPlan, token_credit
from turngym.trainers.kernels.turn_credit import TurnPlan, may_fuse, turn_credit
from turngym.trainers.types import Credit, TurnBatch

__all__ = [
    "CREDITS",
    "CreditMethod",
    "Need",
    "PresetConfig",
    "TurnKey",
    "column",
    "counted",
    "credit",
    "finish",
    "fused_credit",
    "group_of_turn",
    "last_turn",
    "leave_one_out",
    "norm_metrics",
    "of_turn",
    "scores",
    "step_rewards",
    "turn_position_key",
    "turn_return",
    "turn_table",
]

C = TypeVar("C", bound=Config)
TurnKey = Literal["turn", "exchange"]


class PresetConfig(Config):
    """A config whose field `preset` fills in other defaults; keys that are given win."""

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and isinstance(name := data.get("preset"), str):
            return {**cls.presets.get(name, {}), **data}
        return data


@dataclass(frozen=True, slots=True)
class Need:
    """A signal column that a method reads."""

    column: str
    level: Literal["token", "turn", "traj"]
    signal: str
    """Name of the signal that makes it."""


Needs = tuple[Need, ...] | Callable[[C], tuple[Need, ...]]
Plan = Callable[[C], TurnPlan | TokenPlan | None]


@dataclass(frozen=True, slots=True)
class CreditMethod(Generic[C]):
    """A registered method: a pure function of the batch, its settings and the columns it needs."""

    name: str
    function: Callable[[TurnBatch, C], Credit]
    config: type[C]
    declared: Needs[C]
    plan: Plan[C] | None = None
    """The same as data, for kernels that run all of it at once."""

    def __call__(self, batch: TurnBatch, config: C | None = None) -> Credit:
        """The credit of every turn; without `config` the defaults hold.

        Raises:
            UsageError: a column that the method needs is missing; names the signal that makes it.
        """
        config = self.config() if config is None else config
        for need in self.needs(config):
            column(batch, need, self.name)
        plan = self.plan(config) if self.plan is not None and may_fuse(batch) else None
        with torch.no_grad():
            fused = None if plan is None else fused_credit(batch, plan)
            return self.function(batch, config) if fused is None else fused

    def needs(self, config: C) -> tuple[Need, ...]:
        """The columns that the method reads under these settings."""
        return self.declared(config) if callable(self.declared) else self.declared

    def parse(self, settings: Mapping[str, Any]) -> C:
        """The method's config from a table of settings.

        Raises:
            ConfigError: unknown key (with the closest match), wrong type, value out of range.
        """
        return parse(self.config, settings, source=f"credit method {self.name!r}")


def fused_credit(batch: TurnBatch, plan: TurnPlan | TokenPlan) -> Credit | None:
    """What `plan` says of the batch by its kernels; None where the torch form is to be run."""
    if isinstance(plan, TurnPlan):
        return turn_credit(batch, plan)
    return token_credit(batch, plan)


CREDITS: Registry[CreditMethod[Any]] = Registry("credit method")


def credit(
    name: str, needs: Needs[C] = (), plan: Plan[C] | None = None
) -> Callable[[Callable[[TurnBatch, C], Credit]], CreditMethod[C]]:
    """Decorator that makes `f(batch, config) -> Credit` a registered method.

    Args:
        name: in the registry.
        needs: signal columns, or a function of the config that gives them.
        plan: the same as data, for one launch on a GPU; gives None where the settings have no plan.

    Raises:
        TypeError: the annotation of `config` is no subclass of Config.
    """

    def bind(function: Callable[[TurnBatch, C], Credit]) -> CreditMethod[C]:
        kind = typing.get_type_hints(function).get("config")
        if not (isinstance(kind, type) and issubclass(kind, Config)):
            raise TypeError(
                f"credit method {name!r}: annotate the argument `config` with its Config class, "
                f"got {kind!r}"
            )
        method: CreditMethod[C] = CreditMethod(
            name, function, typing.cast(type[C], kind), needs, plan
        )
        CREDITS.add(name, method)
        return method

    return bind


def column(batch: TurnBatch, need: Need, method: str = "this credit method") -> Tensor:
    """The signal column behind `need`, [N], [K] or [B].

    Raises:
        UsageError: the batch has no such column; names the signal that makes it.
    """
    columns: Mapping[str, Tensor] = getattr(batch, f"{need.level}_columns")
    if need.column not in columns:
        raise UsageError(
            f"{method} needs the {need.level} column {need.column!r}, which the signal "
            f"{need.signal!r} makes; the batch has {', '.join(sorted(columns)) or 'none'}. "
            f"Add the signal to the run, or choose a method that does without it."
        )
    return columns[need.column]


def counted(batch: TurnBatch) -> Tensor:
    """[B] bool: trajectories that enter baselines, those with turns and without foreign failures."""
    return batch.traj_mask & (batch.cu_turns[1:] > batch.cu_turns[:-1])


def of_turn(batch: TurnBatch, per_trajectory: Tensor) -> Tensor:
    """[K] the value of each turn's trajectory."""
    return per_trajectory.index_select(0, batch.traj_of_turn)


def group_of_turn(batch: TurnBatch) -> Tensor:
    """[K] int64."""
    return of_turn(batch, batch.group_of_traj)


def turn_position_key(batch: TurnBatch, key: TurnKey) -> tuple[Tensor, int]:
    """[K] int64 key of (group, position in the episode), and the number of keys.

    Position is the number of the turn, or that of the exchange: then all turns of one exchange fall
    together, which compares agents that spend unequal numbers of turns on one user message.
    """
    position = batch.turn_index if key == "turn" else batch.exchange_of_turn
    stride = max(batch.max_turns, 1)
    return group_of_turn(batch) * stride + position, batch.num_groups * stride


def last_turn(batch: TurnBatch) -> Tensor:
    """[K] bool: the last turn of its trajectory."""
    traj = batch.traj_of_turn
    return torch.cat([traj[1:] != traj[:-1], batch.loss_mask.new_ones(min(batch.num_turns, 1))])


def step_rewards(batch: TurnBatch, turn_reward_weight: float) -> Tensor:
    """[K] float32 weighted turn rewards, the outcome added on each last turn."""
    rewards = _known_rewards(batch, turn_reward_weight)
    rewards += of_turn(batch, batch.outcome) * last_turn(batch)
    return rewards.masked_fill_(~batch.turn_mask, 0)


def scores(batch: TurnBatch, turn_reward_weight: float) -> Tensor:
    """[B] float32 outcome plus the weighted sum of turn rewards."""
    if turn_reward_weight == 0:
        return batch.outcome
    rewards = _known_rewards(batch, turn_reward_weight)
    return segment_sum(rewards, batch.traj_of_turn, batch.num_trajectories).add_(batch.outcome)


def _known_rewards(batch: TurnBatch, weight: float) -> Tensor:
    """[K] float32 weighted turn rewards, 0 where there is none."""
    rewards = batch.turn_rewards.masked_fill(~batch.reward_mask, 0)
    return rewards if weight == 1 else rewards.mul_(weight)


def turn_table(batch: TurnBatch) -> Table:
    """The turns as rows of a padded table, for the kernels that run over them."""
    longest = batch.max_turns
    place = batch.traj_of_turn * longest + batch.turn_index
    return Table(place=place, rows=batch.num_trajectories, longest=longest)


def turn_return(batch: TurnBatch, rewards: Tensor, gamma: float) -> Tensor:
    """[K] float32 discounted sum of `rewards` [K] from each turn to its trajectory's end."""
    return discounted_return(rewards, batch.traj_of_turn, gamma, table=turn_table(batch))


def leave_one_out(
    values: Tensor,
    key: Tensor,
    num_keys: int,
    singleton: Singleton,
    *,
    mask: Tensor,
    source: Tensor | None = None,
) -> Normed:
    """n / (n - 1) (x - mean): each value less the mean of the others; n rows in the statistics."""
    rule = NormRule(divide=False, singleton=singleton)
    normed = segment_norm(values, key, num_keys, rule, mask=mask, source=source)
    rows = mask if source is None else mask & source
    count = segment_sum(rows.float(), key, num_keys)
    factor = count.clamp(min=1).div_((count - 1).clamp_(min=1))
    return replace(normed, values=normed.values * factor.index_select(0, key))


def finish(
    batch: TurnBatch,
    turn: Tensor,
    norms: Mapping[str, Normed],
    *,
    kept: Tensor | None = None,
    clip_scale: Tensor | None = None,
    returns: Tensor | None = None,
) -> Credit:
    """Turn-level credit; rows of masked trajectories are 0.

    Args:
        batch: as given to the method.
        turn: [K] advantages.
        norms: statistics whose segments of one and of equal values are reported, by name.
        kept: [K] bool: turns that stay in the loss (singleton rule `drop`); None: all.
        clip_scale: [K].
        returns: [K] targets of a value head.
    """
    out = ~batch.turn_mask
    return Credit(
        turn=turn.masked_fill(out, 0).float(),
        clip_scale=None if clip_scale is None else clip_scale.masked_fill(out, 1).float(),
        weight=None if kept is None else spread(kept.float(), batch.turn_of_token),
        returns=None if returns is None else returns.masked_fill(out, 0).float(),
        metrics=norm_metrics(norms),
    )


def norm_metrics(norms: Mapping[str, Normed]) -> dict[str, Tensor]:
    """Scalars `NAME_singletons` and `NAME_flat`: segments of one, and of equal values."""
    metrics = {}
    for name, normed in norms.items():
        metrics[f"{name}_singletons"] = normed.singletons
        metrics[f"{name}_flat"] = normed.flat
    return metrics
