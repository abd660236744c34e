"""The training loop: rollout -> batch -> signals -> credit -> losses -> step.

    turngym train web_shop

A run is a pure function of its settings and of the checkpoint it starts from: tasks, seeds, orders
and global generators are derived from (seed, step), so that nothing but weights, optimizers and the
models of signals needs restoring.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import torch

from turngym.errors import ConfigError, NotTheAgentsFault, RunStopped, StorageFailure
from turngym.trainers import checkpoint
from turngym.trainers.batch import collate
from turngym.trainers.bookkeeping import ledger_of
from turngym.trainers.config import TrainConfig
from turngym.trainers.credit import credit_method
from turngym.trainers.details import details
from turngym.trainers.evidence import Evidence
from turngym.trainers.examine import examine, examine_expert, stalled
from turngym.trainers.explore import Explorer, Played
from turngym.trainers.generators import keyed_generators
from turngym.trainers.groups import drop_small_groups
from turngym.trainers.interrupt import interrupts_deferred
from turngym.trainers.loggers import find_loggers
from turngym.trainers.measure import needed_signals, open_suite, require_turn_rewards
from turngym.trainers.optimizer import PolicyOptimizer, learning_rate
from turngym.trainers.overlong import penalized
from turngym.trainers.policy import Policy
from turngym.trainers.progress import figures, line
from turngym.trainers.run import Run
from turngym.trainers.signals.suite import skipped_signals
from turngym.trainers.step import update
from turngym.trainers.team import Team
from turngym.trainers.types import Credit, StepResult, TurnBatch

__all__ = ["train"]

Report = Callable[[str], None]


def train(
    config: TrainConfig, folder: Path, *, resume: bool = False, report: Report = print
) -> Run:
    """Train a policy and leave everything under `folder`.

    Interrupted (Ctrl-C), it finishes an update that is under way and writes a checkpoint. Killed at
    any moment, it is resumed to the same bytes. Started by torchrun it is one of several processes,
    of which the first writes and reports.

    Raises:
        ConfigError: the folder holds another run, or none to resume.
        DataError: every checkpoint of the run to resume is damaged.
        NotTheAgentsFault: not one episode of a step could be used; the first error is named.
        RunStopped: loss or gradient were not finite too often, or the disk is full.
    """
    if resume:
        run = Run.reopen(folder, config)
        if run.finished:
            report(f"{folder} is finished: {run.finished}")
            return run
    if config.threads:
        torch.set_num_threads(config.threads)
    team = _open_team()
    with closing(team), ExitStack() as stack:
        return _Training(config, folder, resume, report, team, stack).go_on()


class _Training:
    """A run and all that it holds in memory."""

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        resume: bool,
        report: Report,
        team: Team,
        stack: ExitStack,
    ) -> None:
        _refuse_a_race(config, team)
        find_loggers(config.loggers)
        self.config, self.team = config, team
        self.report = report if team.rank == 0 else _say_nothing
        saved = team.first(lambda: checkpoint.latest(folder, report)) if resume else None
        self.reached = 0 if saved is None else checkpoint.read_state(saved).step
        """Steps done."""
        deterministic = config.rollout.deterministic
        copied = team.sharded or config.rollout.max_staleness > 0
        with keyed_generators(config.seed, "start"):
            self.policy = Policy.load(
                config.policy, saved, deterministic=deterministic, copied=copied
            )
            tasks = config.env.make().tasks("train")
            # Signals look at whole weights.
            seen = self.policy.actor if team.sharded else self.policy.model
            self.suite = team.first_keeps(lambda: open_suite(config, self.policy, tasks, seen))
        rubric = config.rewards.rubric()
        # Only now, when everything that a mistake could break has been loaded.
        opened = team.first_keeps(lambda: self._open(folder, resume, stack))
        self.run = opened or Run(folder, config)
        team.adopt(self.policy.model, config.policy.dtype)
        self.optimizer = PolicyOptimizer(self.policy.model, config.optimizer, self.policy.actor)
        self.explorer = Explorer(self.run, self.policy, tasks, rubric, team, self.report)
        self.fresh = saved is None
        if saved is not None:
            self._restore(saved)
        elif resume:
            self.report(f"{folder} has no checkpoint yet: beginning again at step 0")

    def _open(self, folder: Path, resume: bool, stack: ExitStack) -> Run:
        opened = Run.reopen if resume else Run.start
        run = opened(folder, self.config)
        stack.enter_context(run.locked())
        if resume:
            run.take_back(self.reached)
        run.open_loggers(self.reached, self.report)
        stack.callback(run.loggers.close)
        return run

    def _restore(self, saved: Path) -> None:
        self.optimizer.load_state_dict(checkpoint.load_optimizer(saved))
        if self.suite is not None:
            self.suite.load_state_dict(checkpoint.load_signals(saved))
        if self.config.rollout.max_staleness:
            self.explorer.recall(self.reached)
        self.report(f"resumed at step {self.reached} from {saved}")
        before, now = checkpoint.read_state(saved).numerics, checkpoint.numerics(self.policy.device)
        if before and before != now:
            self.report(f"the run had {before}, now {now}: it goes on, but not to the same bytes")

    def go_on(self) -> Run:
        """All remaining steps, between the evaluations before and after."""
        config = self.config
        if self.fresh:
            self.team.first(lambda: examine_expert(self.run, self.report))
            self._examine("before")
        try:
            while self.reached < config.steps:
                every = config.evaluation.every
                if self.reached and every and self.reached % every == 0:
                    self._examine("during")
                    if self.team.first(lambda: stalled(self.run)):
                        self.report(
                            f"stopped early after {self.reached} of {config.steps} steps: the last "
                            f"{config.evaluation.patience} evaluations were no better than before"
                        )
                        self._save()
                        break
                self._step()
                if self.reached % config.checkpoint_every == 0 or self.reached == config.steps:
                    self._save()
        except StorageFailure:
            raise  # a disk that took no checkpoint will not take this one
        except (KeyboardInterrupt, NotTheAgentsFault, RunStopped) as error:
            # Ctrl-C reaches the processes of a team at different points; nobody can wait for all.
            if not (self.team.sharded and isinstance(error, KeyboardInterrupt)):
                self._save()
                self.report(f"stopped after {self.reached} steps; continue with --resume")
            raise
        finally:
            self.explorer.close()
        self._examine("after")
        self.team.first(lambda: self.run.finish(self.reached))
        return self.run

    def _step(self) -> None:
        config, step = self.config, self.reached
        played = self.explorer.take(step)
        if config.rollout.max_staleness and step + 1 < config.steps:
            self.explorer.begin(step + 1)
        with interrupts_deferred(), keyed_generators(config.seed, "step", step):
            result = self._learn(played, step)
            result = replace(result, seconds={"rollout": played.seconds, **result.seconds})
            self.team.first(lambda: self.run.log_step(result))
            self.report(line(result, config.steps))
            self.reached = step + 1
        if result.skipped:
            self.team.first(self.run.stop_if_stuck)

    def _learn(self, played: Played, step: int) -> StepResult:
        """Everything that changes weights: of the signals' models and of the policy."""
        began, config = time.perf_counter(), self.config
        batch, credit, metrics = self.team.first(lambda: self._judge(played, step))
        rate = learning_rate(config.optimizer, step, config.steps)
        self.optimizer.set_rate(rate)
        done = update(self.policy.model, self.optimizer, batch, credit, config, step, self.team)
        told = details(played.trajectories, credit, done, config)
        self.team.first(lambda: self.run.log_details(step, told))
        skipped = ("policy",) * (done.skipped > 0) + skipped_signals(metrics)
        if skipped and self.team.rank == 0:
            evidence = Evidence(
                step=step,
                loss=done.loss,
                grad_norm=done.grad_norm,
                skipped=skipped,
                batch=batch,
                credit=credit,
            )
            self.run.keep_evidence(evidence)
        return StepResult(
            step=step,
            loss=done.loss,
            grad_norm=done.grad_norm,
            learning_rate=rate,
            num_tokens=batch.num_tokens,
            num_turns=batch.num_turns,
            policy_version=step,
            skipped=bool(skipped),
            seconds={"update": time.perf_counter() - began},
            metrics={**metrics, **done.metrics},
        )

    def _judge(self, played: Played, step: int) -> tuple[TurnBatch, Credit, dict[str, float]]:
        """The global batch with its signals, and its credit."""
        config, suite = self.config, self.suite
        assert suite is not None
        batch, penalty = collate(played.trajectories).to(self.policy.device), dict[str, float]()
        batch, dropped = drop_small_groups(batch, config.min_group_size)
        if config.overlong is not None:
            batch, penalty = penalized(batch, config.overlong)
        batch, signals = suite.measure(played.trajectories, batch)
        if step == 0:
            require_turn_rewards(config, batch)
        credit = credit_method(config.credit)(batch)
        self.run.log_credit(step, ledger_of(played.trajectories, batch, credit, config.credit))
        signals |= suite.learn(played.trajectories, batch, credit)
        credited = {name: float(value) for name, value in credit.metrics.items()}
        seen = figures(played.everyone, batch) | {"dropped_groups": float(dropped)}
        return batch, credit, {**seen, **played.metrics, **penalty, **credited, **signals}

    def _examine(self, label: str) -> None:
        self.explorer.settle()
        self.policy.publish(self.reached)
        self.team.first(lambda: examine(self.run, self.policy, self.reached, label, self.report))

    def _save(self) -> None:
        self.explorer.settle()  # what was played ahead belongs to the checkpoint
        self.policy.publish(self.reached)
        optimizer = self.optimizer.state_dict()
        state = checkpoint.State(
            step=self.reached,
            config_hash=self.run.config_hash,
            numerics=checkpoint.numerics(self.policy.device),
        )

        def write() -> None:
            assert self.suite is not None
            models = (self.policy.actor, self.policy.tokenizer, optimizer)
            states, keep = self.suite.state_dict(), self.config.keep_checkpoints
            checkpoint.save(self.run.folder, *models, state, keep, states)

        self.team.first(write)


def _open_team() -> Team:
    """The team that the environment speaks of: torchrun and `accelerate launch` start several
    processes and tell each of them its rank."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ:
        from turngym.trainers.shard import Ranks

        return Ranks()
    return Team()


def _refuse_a_race(config: TrainConfig, team: Team) -> None:
    """Adapters cannot be switched off for the reference in the copy that is sampling meanwhile."""
    adapted = config.policy.lora is not None and "reference" in needed_signals(config)
    if team.sharded and config.rollout.max_staleness and adapted:
        raise ConfigError(
            "several processes, policy.lora, a KL to the reference and rollout.max_staleness = 1 "
            "do not go together: do without one of them (loss.kl_coef = 0, say)"
        )


def _say_nothing(_: str) -> None:
    """The report of processes that are not the first."""
