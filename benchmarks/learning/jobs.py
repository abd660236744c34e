"""What is compared: six credit methods by their recipes, in two environments, five seeds each.

Every method keeps the credit, loss and signals of its recipe. What is the same for all: the
environment, the supervised start, the sampling, the optimizer, the number of episodes per step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from turngym.trainers.config import TrainConfig, load_recipe, recipe_path

METHODS = ("grpo", "gigpo", "mapo", "a2tgpo", "oprl", "spa")
SEEDS = range(5)

STEPS = {"web_shop": 100, "emotional_support": 60}
"""So that a run takes three minutes on an idle core: conversations are longer than visits."""
ENVIRONMENTS = tuple(STEPS)

SHARED = (
    "groups_per_step=4",
    "group_size=8",
    "optimizer.learning_rate=5e-4",
    "optimizer.schedule=linear",
    "optimizer.warmup_steps=5",
    "evaluation.episodes=128",
    "evaluation.every=20",
    "evaluation.temperatures=[1.0]",
    "checkpoint_every=100",
    "threads=1",
)

LIGHTER = {  # so that a run stays near three minutes: one pass of what is learnt beside the policy
    "mapo": ("signals.progress.passes=1",),
    "spa": ("epochs=1", "mini_batches=1", "signals.progress.passes=1", "signals.values.passes=1"),
}

OWN_TURN_REWARDS = {  # environments that reward turns need no estimator to stand in
    ("emotional_support", "mapo"): ("signals={}",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training run."""

    environment: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """Such as `web_shop/mapo-3`."""
        return f"{self.environment}/{self.method}-{self.seed}"

    @property
    def overrides(self) -> tuple[str, ...]:
        """What differs from the recipes."""
        own = OWN_TURN_REWARDS.get((self.environment, self.method), LIGHTER.get(self.method, ()))
        return (f"steps={STEPS[self.environment]}", *SHARED, *own, f"seed={self.seed}")

    @property
    def key(self) -> str:
        """Changes with the recipes and the overrides, not with settings that were added since."""
        recipes = [recipe_path(name).read_text() for name in (self.method, self.environment)]
        return hashlib.sha256("\n".join([*recipes, *self.overrides]).encode()).hexdigest()[:16]

    def config(self) -> TrainConfig:
        """Its settings."""
        return load_recipe(self.method, self.overrides, on=self.environment)


def jobs() -> Iterator[Job]:
    """All of them, a seed at a time, so that a queue cut short has compared like with like."""
    for environment in ENVIRONMENTS:
        for seed in SEEDS:
            for method in METHODS:
                yield Job(environment=environment, method=method, seed=seed)
