"""Rewards by name: `NAME`, `NAME=WEIGHT` or `package.module:attribute`."""

import importlib
import pkgutil
from collections.abc import Iterable

from turngym import rewards
from turngym.errors import ConfigError
from turngym.registry import load_object
from turngym.rewards.reward import REWARDS, Reward
from turngym.rewards.rubric import Rubric, Weighted

__all__ = ["find_reward", "parse_rubric"]


def parse_rubric(specs: Iterable[str]) -> Rubric:
    """The weighted sum that texts such as `outcome` and `mine.rewards:polite=0.2` describe.

    Raises:
        ConfigError: no reward is named, one is no reward, or a weight is no number.
        UnknownNameError: no such reward; lists the known ones and the closest.
    """
    terms = []
    for spec in specs:
        name, equals, weight = spec.partition("=")
        try:
            value = float(weight) if equals else 1.0
        except ValueError:
            raise ConfigError(f"a reward is NAME or NAME=WEIGHT, got {spec!r}") from None
        terms.append(Weighted(reward=find_reward(name.strip()), weight=value))
    if not terms:
        raise ConfigError("name at least one reward")
    return Rubric(terms=tuple(terms))


def find_reward(name: str) -> Reward:
    """A registered reward, ours or one behind an import path.

    Raises:
        ConfigError: the import path leads nowhere, or to something that is no reward.
        UnknownNameError: no such reward; lists the known ones and the closest.
    """
    if ":" not in name:
        for module in pkgutil.iter_modules(rewards.__path__):
            importlib.import_module(f"{rewards.__name__}.{module.name}")
        return REWARDS[name]
    try:
        found = load_object(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"cannot load the reward {name!r}: {error}") from error
    if not (callable(found) and hasattr(found, "name") and hasattr(found, "level")):
        raise ConfigError(
            f"{name!r} is no reward: decorate the function with turngym.rewards.reward"
        )
    reward: Reward = found
    return reward
