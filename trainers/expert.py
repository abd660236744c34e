"""The scripted expert of an environment, as a script that an agent can follow."""

from __future__ import annotations

from collections.abc import Callable

from turngym.envs.env import TextEnv
from turngym.errors import ConfigError
from turngym.seeding import derive
from turngym.types import Context, Message

__all__ = ["expert_script"]


def expert_script(
    env: TextEnv, *, noise: float = 0.0, seed: int = 0
) -> Callable[[Context], Message | str]:
    """What the environment's expert would say; `seed` and the episode key its mistakes.

    Raises:
        ConfigError: the environment has no expert, or `noise` is not a probability.
    """
    if not env.has_expert:
        raise ConfigError(
            f"{type(env).__name__} has no scripted expert as it is set up: choose another agent"
        )
    if not 0 <= noise <= 1:
        raise ConfigError(f"the expert's noise is a probability from 0 to 1, got {noise}")
    return lambda context: env.expert(
        context.messages, noise=noise, seed=derive(seed, context.episode)
    )
