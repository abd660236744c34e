"""Future-oriented reward (RLFF-ESC, arXiv 2508.12935): what a reply leads to, played out in forks.

The paper's exact formula is not public. Ours: the discounted turn rewards of the reply and of the
`steps` replies after it, averaged over forked futures. `FutureOriented` makes that the turn reward of
an environment, so that a policy can be trained on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from turngym.bridge import call
from turngym.envs.canonical import digest
from turngym.envs.env import StepResult, TextEnv
from turngym.envs.wrappers import Recorder
from turngym.seeding import derive
from turngym.types import Agent, Completion, Context, Message, Sampling, Turn

__all__ = ["Future", "FutureOriented", "future_reward"]


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
        env: an open episode of an environment with turn rewards, at the moment of the reply.
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
    forks = [env.fork(seed=int(key)) for key in keys]

    def play(fork: TextEnv, key: int) -> list[float]:
        return _play(fork, context, completion, agent, steps, sampling or Sampling(), key)

    with ThreadPoolExecutor(branches, thread_name_prefix="future") as pool:
        played = list(pool.map(play, forks, map(int, keys)))
    return Future(
        immediate=fmean(rewards[0] for rewards in played),
        branches=tuple(
            sum(gamma**index * value for index, value in enumerate(rewards)) for rewards in played
        ),
    )


class FutureOriented(Recorder):
    """An environment whose turn reward is what the reply leads to, instead of what it earns at once.

    The futures are keyed by state and reply: equal replies in equal states earn the same. The
    outcome, the ending and what the person says stay those of the environment inside.

    Args:
        env: its steps give a `turn_reward`.
        agent: plays the supporter in the futures. Not the deterministic agent of the policy in
            training, which would wait for the very episode that waits for it.
        steps: as for `future_reward`, like `branches`, `gamma` and `sampling`.
    """

    shared = frozenset({"env", "agent"})

    def __init__(
        self,
        env: TextEnv,
        agent: Agent,
        *,
        steps: int = 2,
        branches: int = 4,
        gamma: float = 1.0,
        sampling: Sampling | None = None,
    ) -> None:
        super().__init__(env)
        self.agent, self.steps, self.branches, self.gamma = agent, steps, branches, gamma
        self.sampling = sampling or Sampling()

    def step(self, action: Message) -> StepResult:
        """Play the futures, then the step itself; `rewards` names both."""
        future = future_reward(
            self.env,
            Context(episode="future", tools=tuple(self.tools), turns=self.turns, new=self.new),
            Completion(message=action),
            self.agent,
            steps=self.steps,
            branches=self.branches,
            gamma=self.gamma,
            sampling=self.sampling,
            seed=derive(self.env.fingerprint(), digest(action)),
        )
        messages, reward, terminated, truncated, info = self.env.step(action)
        parts = {"future": future.value, "immediate": future.immediate}
        info = {
            **info,
            "turn_reward": future.value,
            "rewards": {**info.get("rewards", {}), **parts},
        }
        return self.after(action, (messages, reward, terminated, truncated, info))


def _play(
    fork: TextEnv,
    context: Context,
    completion: Completion,
    agent: Agent,
    steps: int,
    sampling: Sampling,
    key: int,
) -> list[float]:
    context = context.fork(f"{context.episode}~{key}")
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
