"""Demonstrations: episodes of a scripted expert, with the token ids a policy would have sampled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from turngym.agents.demonstrate import DemonstratingAgent
from turngym.envs.env import TextEnv
from turngym.seeding import derive
from turngym.trainers.expert import expert_script
from turngym.trainers.rollout import Group, RolloutConfig, rollout
from turngym.types import Trajectory

__all__ = ["demonstrate"]


def demonstrate(
    make_env: Callable[[], TextEnv],
    tokenizer: Any,
    *,
    episodes: int,
    noise: float = 0.0,
    seed: int = 0,
    split: str = "train",
    on_episode: Callable[[Trajectory], None] | None = None,
) -> list[Trajectory]:
    """Episodes of the environment's expert on the tasks of `split`, ready for `sft`.

    Args:
        make_env: makes environments that have an `expert`.
        tokenizer: of the policy that will learn; renders prompts and replies.
        episodes: how many; tasks repeat, with other mistakes, when there are fewer.
        noise: probability of a mistake at each choice.
        seed: keys tasks without a list, and mistakes.
        split: whose tasks to play.
        on_episode: called with each finished episode.
    """
    guide = make_env()
    tasks = guide.tasks(split)
    agent = DemonstratingAgent(expert_script(guide, noise=noise, seed=seed), tokenizer)
    groups = [
        Group(
            key=f"demonstration-{index}",
            seed=derive(seed, "demonstration", index),
            task_id=tasks[index % len(tasks)] if tasks else None,
            split=split,
        )
        for index in range(episodes)
    ]
    return rollout(make_env, agent, groups, RolloutConfig(concurrency=16), on_episode=on_episode)
