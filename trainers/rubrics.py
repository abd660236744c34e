"""Rewards of a run by name: the table `[rewards]` of a recipe, as a rubric."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from typing import Any, Literal, cast

from pydantic import ConfigDict

import turngym.rewards
from turngym.agents.load import load_agent
from turngym.config import Config, parse
from turngym.errors import ConfigError, UnknownNameError
from turngym.registry import load_object
from turngym.rewards.reward import JUDGED, REWARDS, Reward
from turngym.rewards.rubric import Rubric, Weighted

__all__ = ["RewardsConfig", "find_reward", "parse_rubric"]


class RewardsConfig(Config):
    """What episodes earn, by name and weight, instead of what the environment pays or added to it.

        [rewards]
        default = "add"
        search_recall = 0.2
        equivalence = 1.0
        judge = "http://localhost:8000/v1#MODEL"

    Weight 0 records a reward without counting it. Success, and with it evaluation, stays the
    environment's.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    default: Literal["replace", "add"] = "replace"
    """What becomes of the environment's own reward."""
    judge: str | None = None
    """Who judges, for the rewards that ask a judge (`turngym.agents.load`)."""

    def rubric(self) -> Rubric | None:
        """The rubric, or None where the environment's own reward stands.

        Raises:
            ConfigError: a weight is no number, or a reward lacks the judge that it asks.
            UnknownNameError: no such reward.
        """
        weights = self.model_extra or {}
        terms = tuple(
            Weighted(reward=find_reward(name, self.judge), weight=_number(name, weight))
            for name, weight in weights.items()
        )
        return Rubric(terms=terms, default=self.default) if terms else None


def find_reward(name: str, judge: str | None = None) -> Reward:
    """The reward called `name`, asking the agent that `judge` names if it needs one.

    `package.module:attribute` names a reward that is not registered.

    Raises:
        ConfigError: it asks a judge and none is named, or none of that name can be had; or the
            import path leads to no reward.
        UnknownNameError: no such reward; the message names the closest.
    """
    if ":" in name:
        return _loaded(name)
    for module in pkgutil.iter_modules(turngym.rewards.__path__, "turngym.rewards."):
        importlib.import_module(module.name)  # where rewards register themselves
    if name in REWARDS:
        return REWARDS[name]
    if name not in JUDGED:
        raise UnknownNameError("reward", name, [*REWARDS, *JUDGED])
    if judge is None:
        raise ConfigError(
            f'reward {name!r} asks a judge: set rewards.judge = "http://host/v1#MODEL"'
        )
    return JUDGED[name](load_agent(judge))


def parse_rubric(specs: Sequence[str], judge: str | None = None) -> Rubric:
    """The weighted sum that texts such as `outcome` and `polite=0.2` describe.

    Raises:
        ConfigError: no reward is named, a weight is no number, or a reward cannot be had.
        UnknownNameError: no such reward.
    """
    parts = [spec.partition("=") for spec in specs]
    try:
        weights = {name.strip(): float(weight) if equals else 1.0 for name, equals, weight in parts}
    except ValueError as error:
        raise ConfigError(f"a reward is NAME or NAME=WEIGHT: {error}") from error
    rubric = parse(RewardsConfig, {**weights, "judge": judge}, source="rewards").rubric()
    if rubric is None:
        raise ConfigError("name at least one reward")
    return rubric


def _loaded(path: str) -> Reward:
    try:
        found = load_object(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"cannot load the reward {path!r}: {error}") from error
    if not (callable(found) and hasattr(found, "name") and hasattr(found, "level")):
        raise ConfigError(
            f"{path!r} is no reward: decorate the function with turngym.rewards.reward"
        )
    return cast(Reward, found)


def _number(name: str, weight: Any) -> float:
    if not isinstance(weight, int | float) or isinstance(weight, bool):
        raise ConfigError(f"rewards.{name} is a weight: expected a number, got {weight!r}")
    return float(weight)
