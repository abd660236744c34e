"""The border to code of others: what environments and agents hand in is checked, and closed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, TypeVar

from turngym.envs.env import TextEnv
from turngym.errors import EnvironmentFailure, InfraFailure
from turngym.types import Agent, Completion, Message, Privileged

__all__ = [
    "check_completion",
    "check_messages",
    "checked_step",
    "closed_on_failure",
    "told",
    "when_late",
]

T = TypeVar("T")

LARGEST = 3.4028234663852886e38
"""Of float32: rewards beyond it would be infinite in a batch."""


def told(env: TextEnv | None) -> tuple[tuple[Mapping[str, Any], ...], Privileged]:
    """Tools and privileged facts of an environment, sure to be JSON.

    Raises:
        TypeError, ValueError: they are not; or whatever a stranger's property raises.
    """
    if env is None:
        return (), Privileged()
    tools, privileged = tuple(env.tools), env.privileged
    json.dumps([tools, asdict(privileged)], allow_nan=False)
    return tools, privileged


def checked_step(env: TextEnv, result: Any) -> tuple[tuple[Message, ...], float, bool, bool, Any]:
    """`result` if it is what a step gives: garbage and NaN are the environment's failure.

    Raises:
        EnvironmentFailure: it is something else.
    """
    try:
        observation, reward, terminated, truncated, info = result
        numbers = (reward, info.get("outcome", 0.0), info.get("turn_reward") or 0.0)
        json.dumps(info, allow_nan=False)
        sound = all(abs(number) <= LARGEST for number in numbers)  # false for NaN
    except (TypeError, ValueError, AttributeError) as error:
        raise EnvironmentFailure(
            f"{type(env).__name__}.step must return (messages, reward, terminated, truncated, "
            f"info), got {result!r:.200}"
        ) from error
    if not sound:
        raise EnvironmentFailure(
            f"{type(env).__name__}.step returned a reward that is not finite in float32: "
            f"{result!r:.200}"
        )
    check_messages(env, observation)
    return tuple(observation), float(reward), terminated, truncated, info


def check_messages(env: TextEnv, observation: Any) -> None:
    """Refuse what is no message.

    Raises:
        EnvironmentFailure: something else, or a message without text.
    """
    for message in observation:
        if not isinstance(message, Message) or not isinstance(message.content, str):
            raise EnvironmentFailure(
                f"{type(env).__name__} said something that is no message with text: {message!r:.200}"
            )


def check_completion(agent: Agent, completion: Any) -> None:
    """Refuse what no sound agent gives.

    Raises:
        InfraFailure: no Completion, or a log-probability that is not finite.
    """
    if not isinstance(completion, Completion) or not math.isfinite(sum(completion.reply_logprobs)):
        raise InfraFailure(
            f"{type(agent).__name__}.act must give a Completion with finite log-probabilities, got "
            f"{completion!r:.200}"
        )


@contextmanager
def closed_on_failure(env: TextEnv) -> Iterator[None]:
    """Close `env` if the block fails, so that its containers and files do not outlive it."""
    try:
        yield
    except BaseException:
        env.close()
        raise


def when_late(work: Future[T], close: Callable[[T], None]) -> None:
    """Close what `work` makes although nobody waits for it any more."""

    def done(made: Future[T]) -> None:
        if not made.cancelled() and made.exception() is None:
            close(made.result())

    work.add_done_callback(done)
