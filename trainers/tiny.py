"""How the tiny policies are made: `python -m turngym.trainers.tiny tokenizer | FAMILY`.

The tokenizer is trained on episodes of every bundled environment; a family's checkpoint is a random
model fine-tuned on its imperfect scripted expert, so that reinforcement learning has room.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from turngym.agents.scripted import ScriptedAgent
from turngym.agents.tiny import HERE, load_tiny, tiny_model, tiny_tokenizer
from turngym.agents.tiny.build import build_tokenizer
from turngym.envs.env import TextEnv
from turngym.envs.registry import make
from turngym.registry import Registry
from turngym.seeding import derive
from turngym.trainers.cold_start import demonstrate
from turngym.trainers.config import OptimizerConfig
from turngym.trainers.rollout import Group, RolloutConfig, rollout
from turngym.trainers.sft import SFTConfig, sft
from turngym.types import Trajectory

__all__ = ["FAMILIES", "Family", "cold_start", "corpus"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What a checkpoint is made from."""

    env_id: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    start: str | None = None
    """Family whose checkpoint training starts from: what it can copy, this one need not learn."""
    noise: float
    """Probability of a mistake at each choice of the expert."""
    episodes: int = 8000
    """Demonstrations."""
    worlds: int = 1
    """Worlds (setting `seed`) that they are spread over: what differs from one to the next cannot
    be learnt by heart."""
    steps: int
    """Steps of fine-tuning with 32 episodes each."""

    def make(self, world: int = 0) -> TextEnv:
        """A fresh environment."""
        chosen = {"seed": world} if world else {}
        return make(self.env_id, **self.settings, **chosen)

    def demonstrations(self) -> list[Trajectory]:
        """What the expert does, with its mistakes."""
        done: list[Trajectory] = []
        for world in range(self.worlds):
            each = self.episodes // self.worlds
            make_one = functools.partial(self.make, world)
            tokenizer = tiny_tokenizer()
            done += demonstrate(make_one, tokenizer, episodes=each, noise=self.noise, seed=world)
        return done


FAMILIES: Registry[Family] = Registry("family of tiny policies")
FAMILIES.add(
    "web_shop",
    Family(env_id="turngym/WebShop-v0", settings={"size": "demo"}, noise=0.35, steps=1400),
)
FAMILIES.add(
    "emotional_support",
    Family(
        env_id="turngym/EmotionalSupport-v0", settings={"preset": "demo"}, noise=0.35, steps=400
    ),
)
FAMILIES.add(
    "conversational_qa",
    Family(
        env_id="turngym/ConversationalQA-v0",
        settings={"size": "demo"},
        start="web_shop",
        noise=0.15,
        episodes=12000,
        worlds=8,
        steps=1350,
    ),
)
FAMILIES.add(
    "swe",  # needs Docker: every demonstration is played and graded in containers
    Family(
        env_id="turngym/SWE-v0",
        settings={"tasks": "tiny", "actions": "bash", "max_turns": 5},
        noise=0.5,
        episodes=96,
        steps=180,
    ),
)
FAMILIES.add(
    "tool_use",
    Family(
        env_id="turngym/ToolUse-v0",
        settings={"size": "demo"},
        start="web_shop",
        noise=0.6,  # it breaks each rule more often than it keeps it
        steps=500,
    ),
)

# Environments whose words the tokenizer knows, with a checkpoint or without.
_SPOKEN: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("turngym/WebShop-v0", {"size": "demo"}, 1200),
    ("turngym/WebShop-v0", {}, 40),
    ("turngym/ConversationalQA-v0", {"size": "demo"}, 1200),
    ("turngym/EmotionalSupport-v0", {"preset": "demo"}, 400),
)
_CALLS = ("search", "find_user", "get_order", "cancel_order", "update_address", "send_message")
_KEYS = ("query", "user_id", "order_id", "name", "email", "address", "reason", "date", "amount")


def corpus() -> Iterator[str]:
    """Texts of noisy expert episodes in each bundled environment, and tool calls in JSON."""
    for env_id, settings, episodes in _SPOKEN:
        guide = make(env_id, **settings)
        agent = ScriptedAgent(
            lambda context, guide=guide: guide.expert(  # type: ignore[misc]
                context.messages, noise=0.3, seed=derive(context.episode)
            )
        )
        groups = [Group(key=f"corpus-{index}", seed=index) for index in range(episodes)]
        config = RolloutConfig(concurrency=16)
        for trajectory in rollout(lambda: make(env_id, **settings), agent, groups, config):  # noqa: B023
            for turn in trajectory.turns:
                yield from (message.content for message in turn.seen)
                yield turn.completion.message.content
    for name in _CALLS:
        for key in _KEYS:
            for value in range(10, 40):
                yield json.dumps({"name": name, "arguments": {key: f"{key} {value}"}})


def cold_start(family: str, target: Path) -> list[float]:
    """Write `config.json` and 16-bit weights of a family to `target`; gives the losses."""
    recipe = FAMILIES[family]
    torch.set_num_threads(1)  # one thread adds up in one order: the same weights on any laptop
    model = tiny_model() if recipe.start is None else load_tiny(recipe.start)[0]
    # A constant rate: stopping earlier or later only means less or more of the same.
    optimizer = OptimizerConfig(learning_rate=2e-3, weight_decay=0.01, warmup_steps=30)
    config = SFTConfig(steps=recipe.steps, optimizer=optimizer)
    losses = sft(model, recipe.demonstrations(), config, on_step=_progress)
    model.to(torch.bfloat16).save_pretrained(target)
    (target / "generation_config.json").unlink(missing_ok=True)
    return losses


def _progress(step: int, loss: float) -> None:
    if step % 50 == 49:
        print(f"step {step + 1}  loss {loss:.3f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["tokenizer"]:
        build_tokenizer(corpus(), HERE / "tokenizer.json")
    elif len(sys.argv) == 2:
        cold_start(sys.argv[1], HERE / sys.argv[1])
    else:
        sys.exit(f"usage: python -m turngym.trainers.tiny tokenizer | {' | '.join(FAMILIES)}")
