"""Runs looked at again: their episodes credited by another method, or scored by other rewards."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from turngym.errors import ConfigError, DataError
from turngym.rewards.rubric import Rubric
from turngym.serial import TrajectoryWriter, read_jsonl
from turngym.trainers import checkpoint as checkpoints
from turngym.trainers.batch import collate
from turngym.trainers.bookkeeping import attach, credit_again, in_order, ledger_of, missing
from turngym.trainers.config import CreditSettings, TrainConfig
from turngym.trainers.credit import CREDITS, credit_method
from turngym.trainers.ledger import Credited, read_ledger
from turngym.trainers.measure import open_suite
from turngym.trainers.policy import Policy
from turngym.trainers.signals import Suite
from turngym.types import Trajectory

__all__ = ["Recreditor", "Rescored", "Stored", "rescore", "stored"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The episodes of one rollout on disk."""

    path: Path
    ledger_path: Path

    @property
    def label(self) -> str:
        """Such as `step-000012`."""
        return self.path.stem

    def ledger(self) -> list[Credited]:
        """What the run's own method gave to them; empty where it says nothing."""
        return list(read_ledger(self.ledger_path)) if self.ledger_path.exists() else []

    def trajectories(self) -> list[Trajectory]:
        """In the order of the rollout; of a training step those that were learnt from."""
        learnt = {row.episode for row in self.ledger()}
        found = [t for t in read_jsonl(self.path) if not learnt or t.episode in learnt]
        return in_order(found)


def stored(source: Path, pattern: str = "step-*") -> list[Stored]:
    """The rollouts of a run's folder that match, in order, or the one in a file of trajectories.

    Raises:
        DataError: there is none.
    """
    if source.is_file():
        return [Stored(path=source, ledger_path=source.with_name("no ledger"))]
    found = sorted((source / "trajectories").glob(f"{pattern}.jsonl"))
    if not found:
        raise DataError(
            f"{source} holds no trajectories/{pattern}.jsonl: give the folder of a run, or a file "
            "that `turngym rollout --out` or `turngym eval --out` wrote"
        )
    return [Stored(path=path, ledger_path=source / "credit" / path.name) for path in found]


class Recreditor:
    """Gives the credit of another method to the rollouts of a run, in their order.

    Signals that the run's own method did not read are measured with the weights of `checkpoint`;
    the engine's log-probabilities stand in for those of the policy that acted. A signal that learns
    and is not in the checkpoint starts as in a run and learns along the rollouts.

    Args:
        source: a run's folder, or a file of trajectories.
        chosen: the method and its settings.
        checkpoint: a checkpoint folder; the run's newest by default.
        report: hears which signals were measured, and with what.
    """

    def __init__(
        self,
        source: Path,
        chosen: CreditSettings,
        checkpoint: Path | None = None,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.source, self.chosen, self.checkpoint = source, chosen, checkpoint
        self.report = report
        method = CREDITS[chosen.method]
        self.needs = method.needs(method.parse(chosen.model_extra or {}))

    def __call__(self, rollout: Stored) -> tuple[list[Trajectory], list[Credited]]:
        """The trajectories of a rollout and their credit.

        Raises:
            UnknownNameError, ConfigError: the method, its settings, or a signal that it needs and
                that cannot be measured here.
        """
        trajectories, ledger = rollout.trajectories(), rollout.ledger()
        if not missing(self.needs, ledger):
            return trajectories, credit_again(trajectories, self.chosen, ledger)
        suite = self._suite
        batch = attach(collate(trajectories), trajectories, ledger)
        batch = replace(batch, old_logprobs=batch.sampled_logprobs)
        batch, _ = suite.measure(trajectories, batch.to(suite.models.policy.device))
        credit = credit_method(self.chosen)(batch)
        suite.learn(trajectories, batch, credit)
        return trajectories, ledger_of(trajectories, batch, credit, self.chosen)

    @cached_property
    def _suite(self) -> Suite:
        names = ", ".join(dict.fromkeys(need.signal for need in self.needs))
        method = self.chosen.method
        if not (self.source / "config.json").exists():
            raise ConfigError(
                f"credit method {method!r} needs the signals {names}, which only the folder of a "
                f"run can feed; {self.source} is none. Choose a method without signals, such as "
                "grpo or rloo"
            )
        config = _config_of(self.source).model_copy(update={"credit": self.chosen})
        saved = self.checkpoint or checkpoints.latest(self.source, self.report)
        policy = Policy.load(config.policy, saved)
        # The loss and its reference are none of credit's business.
        config = config.model_copy(
            update={
                "loss": config.loss.model_copy(update={"kl_coef": 0.0}),
                "signals": {
                    name: settings
                    for name, settings in config.signals.items()
                    if name in {need.signal for need in self.needs}
                },
            }
        )
        suite = open_suite(config, policy, config.env.make().tasks("train"))
        suite.signals.pop("old_logprobs", None)
        states = {} if saved is None else checkpoints.load_signals(saved)
        known = {name: state for name, state in states.items() if name in suite.signals}
        suite.load_state_dict(known)
        self.report(f"signals {names} measured with {saved or config.policy.path}")
        for name in sorted(set(suite.state_dict()) - set(known)):
            self.report(f"{name} is not in the checkpoint: it learns along the stored steps")
        return suite


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescored:
    """What other rewards made of the episodes of one file."""

    label: str
    episodes: int
    before: float
    """Mean outcome of those that count."""
    after: float
    statuses: Mapping[str, int]
    """After it."""


def rescore(source: Path, target: Path, rubric: Rubric) -> Iterator[Rescored]:
    """Write the episodes of a run with other rewards, in a folder of the same shape.

    `turngym credit` and whatever else reads the trajectories of runs can go on from there. Episodes
    that broke stay as they are; a judge that fails makes an episode `judge_error`.

    Raises:
        ConfigError: `target` exists.
        DataError: `source` holds no trajectories.
    """
    found = stored(source, "*")
    if target.exists():
        raise ConfigError(f"{target} exists already: choose another --out")
    (target / "trajectories").mkdir(parents=True)
    if (source / "config.json").exists():
        shutil.copy(source / "config.json", target / "config.json")
    for each in found:
        before = list(read_jsonl(each.path))
        after = [rubric.apply(trajectory) for trajectory in before]
        with TrajectoryWriter(target / "trajectories" / each.path.name) as writer:
            for trajectory in after:
                writer.write(trajectory)
        yield Rescored(
            label=each.label,
            episodes=len(after),
            before=_mean_outcome(before),
            after=_mean_outcome(after),
            statuses=dict(sorted(Counter(t.status.value for t in after).items())),
        )


def _config_of(run: Path) -> TrainConfig:
    """The settings of a run."""
    try:
        data: dict[str, Any] = json.loads((run / "config.json").read_text(encoding="utf-8"))
        return TrainConfig.model_validate(data)
    except (OSError, ValueError) as error:
        raise DataError(f"{run / 'config.json'} holds no settings of a run: {error}") from error


def _mean_outcome(trajectories: list[Trajectory]) -> float:
    values = [t.outcome for t in trajectories if t.outcome is not None]
    return sum(values) / len(values) if values else float("nan")
