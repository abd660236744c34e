"""Which signals a run needs, and whether its environment can feed them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from turngym.errors import ConfigError
from turngym.trainers.config import TrainConfig
from turngym.trainers.credit import CREDITS
from turngym.trainers.policy import Policy
from turngym.trainers.signals import Models, Suite
from turngym.trainers.types import TurnBatch
from turngym.types import Privileged

__all__ = ["needed_signals", "open_suite", "require_turn_rewards"]

LEARNS_FROM_TURN_REWARDS = frozenset({"mapo"})
"""Credit methods that read nothing but turn rewards."""


def needed_signals(config: TrainConfig) -> list[str]:
    """Names of the signals that credit method and loss read.

    Raises:
        UnknownNameError: no such credit method.
        ConfigError: wrong settings of it.
    """
    method = CREDITS[config.credit.method]
    needs = method.needs(method.parse(config.credit.model_extra or {}))
    names = [need.signal for need in needs]
    if config.loss.kl_coef:
        names.append("reference")
    return list(dict.fromkeys(names))


def open_suite(
    config: TrainConfig, policy: Policy, tasks: Sequence[str], model: Any = None
) -> Suite:
    """The signals of a run, fresh.

    Args:
        config: of the run.
        policy: whose weights signals look at and start from.
        tasks: of the training split.
        model: what holds the policy's weights, if it is not `policy.model`.

    Raises:
        UnknownNameError: no such signal.
        ConfigError: wrong settings, or an environment that cannot feed a signal.
    """
    # Models beside the policy are trained whole, from the policy without its adapters.
    plain = config.policy.model_copy(update={"lora": None})
    models = Models(
        policy=policy.model if model is None else model,
        tokenizer=policy.tokenizer,
        initial=lambda: Policy.load(plain).model,
        max_tokens=config.max_tokens_per_forward,
    )
    _refuse_missing_turn_rewards(config)
    needed = needed_signals(config)
    suite = Suite(needed, config.signals, models)
    _refuse_unread(config, suite, needed)
    reader = f"credit method {config.credit.method!r}"
    suite.check(config.env.id, _Secrets(config, tasks), reader)
    return suite


def require_turn_rewards(config: TrainConfig, batch: TurnBatch) -> None:
    """Refuse a method that reads turn rewards alone where not one turn has any.

    Raises:
        ConfigError: names method and environment, and the signals that can stand in.
    """
    if config.credit.method in LEARNS_FROM_TURN_REWARDS and not bool(batch.reward_mask.any()):
        raise ConfigError(_no_turn_rewards(config, "gave none in a whole step"))


def _refuse_missing_turn_rewards(config: TrainConfig) -> None:
    """Before anything is played, where the environment says that it gives none."""
    if config.credit.method not in LEARNS_FROM_TURN_REWARDS:
        return
    rubric = config.rewards.rubric()
    scored = rubric is not None and any(term.reward.level == "turn" for term in rubric.terms)
    stands_in = any(settings.get("as_reward") for settings in config.signals.values())
    if not scored and not stands_in and config.env.make().turn_rewards is False:
        raise ConfigError(_no_turn_rewards(config, "gives none"))


def _no_turn_rewards(config: TrainConfig, what: str) -> str:
    return (
        f"credit method {config.credit.method!r} learns from turn rewards, and {config.env.id} "
        f"{what}: choose another method, name turn-level rewards in [rewards], or let a signal "
        "stand in with signals.progress.as_reward = true or signals.info_gain.as_reward = true"
    )


def _refuse_unread(config: TrainConfig, suite: Suite, needed: Sequence[str]) -> None:
    """A signal that learns from the method that reads it cannot do without one."""
    for name, each in suite.signals.items():
        if not each.learns_from_reader or name in needed:
            continue
        readers = [
            method
            for method in CREDITS
            if name in {need.signal for need in CREDITS[method].needs(CREDITS[method].parse({}))}
        ]
        raise ConfigError(
            f"credit method {config.credit.method!r} does not read the signal {name!r}, which "
            f"learns from what its reader gives back: leave out [signals.{name}], or choose a "
            f"method that reads it ({', '.join(readers)})"
        )


class _Secrets:
    """The privileged facts of training tasks, each by a reset, as often as it is iterated."""

    def __init__(self, config: TrainConfig, tasks: Sequence[str]) -> None:
        self.config, self.tasks = config, tasks

    def __iter__(self) -> Iterator[Privileged]:
        env = self.config.env.make()
        for seed, task in enumerate(self.tasks or (None,) * 8):
            chosen = {} if task is None else {"task_id": task}
            env.reset(seed=seed, options={"split": "train", **chosen})
            yield env.privileged
