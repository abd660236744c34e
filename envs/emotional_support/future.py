"""Future-oriented reward (RLFF-ESC, arXiv 2508.12935): what a reply leads to, played out in forks.

The paper's exact formula is not public. Ours: the discounted turn rewards of the reply and of the
`steps` replies after it, averaged over forked futures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from turngym.bridge import call
from turngym.envs.env import TextEnv
from turngym.types import Agent, Completion, Context, Message, Sampling, Turn

__all__ = ["Future", "future_reward"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Future:
    """What followed one reply."""

    immediate: float
    """Turn reward of the reply itself, averaged over the branches."""
    branches: tuple[float, ...]
    """Discounted sum of each branch, the immediate reward included."""

    @property
    def value(self) -> float:
        """The reward: the mean of the branches."""
        return fmean(self.branches)


def future_reward(
    env: TextEnv,
    context: Context,
    completion: Completion,
    agent: Agent,
    *,
    steps: int = 2,
    branches: int = 4,
    gamma: float = 1.0,
    sampling: Sampling | None = None,
    seed: int = 0,
) -> Future:
    """The value of giving `completion` now; `env` stays where it is.

    Args:
        env: an open episode at the moment of the reply.
        context: what the agent saw.
        completion: the reply to judge.
        agent: plays the supporter in the futures.
        steps: further replies; 0 gives the immediate reward.
        branches: forked futures.
        gamma: discount per reply.
        sampling: of the agent in the futures.
        seed: keys all randomness of the futures.

    Raises:
        ValueError: a negative `steps` or no branch.
        NotTheAgentsFault: a simulator or judge failed in a future; there is no value then.
    """
    if steps < 0 or branches < 1:
        raise ValueError(f"steps >= 0 and branches >= 1 are needed, got {steps} and {branches}")
    keys = np.random.SeedSequence(seed).generate_state(branches)
    played = [
        _play(env, context, completion, agent, steps, sampling or Sampling(), int(key))
        for key in keys
    ]
    return Future(
        immediate=fmean(rewards[0] for rewards in played),
        branches=tuple(
            sum(gamma**index * value for index, value in enumerate(rewards)) for rewards in played
        ),
    )


def _play(
    env: TextEnv,
    context: Context,
    completion: Completion,
    agent: Agent,
    steps: int,
    sampling: Sampling,
    key: int,
) -> list[float]:
    fork, context = env.fork(seed=key), context.fork(f"{context.episode}~{key}")
    seeds = np.random.SeedSequence(key).generate_state(steps + 1)
    rewards: list[float] = []
    for seed in seeds:
        new, _, terminated, truncated, info = fork.step(completion.message)
        rewards.append(float(info["turn_reward"]))
        if terminated or truncated or len(rewards) > steps:
            break
        context = _extended(context, completion, new)
        completion = call(agent, context, sampling=sampling, seed=int(seed))
    fork.close()
    return rewards


def _extended(context: Context, completion: Completion, new: Sequence[Message]) -> Context:
    turn = Turn(seen=context.new, completion=completion)
    return replace(context, turns=(*context.turns, turn), new=tuple(new))
