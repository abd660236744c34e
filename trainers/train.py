"""The training loop: rollout -> batch -> signals -> credit -> losses -> step.

    turngym train web_shop

A run is a pure function of its settings and of the checkpoint it starts from: tasks, seeds, orders
and global generators are derived from (seed, step), so that nothing but weights, optimizers and the
models of signals needs restoring.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from turngym.errors import NotTheAgentsFault, RunStopped, StorageFailure
from turngym.rewards.rubric import Rubric
from turngym.trainers import checkpoint
from turngym.trainers.config import TrainConfig
from turngym.trainers.examine import examine, examine_expert
from turngym.trainers.explore import explore
from turngym.trainers.generators import keyed_generators
from turngym.trainers.interrupt import interrupts_deferred
from turngym.trainers.learn import learn
from turngym.trainers.measure import open_suite
from turngym.trainers.plan import plan
from turngym.trainers.policy import Policy
from turngym.trainers.progress import line
from turngym.trainers.run import Run
from turngym.trainers.signals import Suite
from turngym.trainers.step import make_optimizer
from turngym.trainers.types import StepResult

__all__ = ["train"]

Report = Callable[[str], None]


def train(
    config: TrainConfig, folder: Path, *, resume: bool = False, report: Report = print
) -> Run:
    """Train a policy and leave everything under `folder`.

    Interrupted (Ctrl-C), it finishes an update that is under way and writes a checkpoint. Killed at
    any moment, it is resumed to the same bytes.

    Raises:
        ConfigError: the folder holds another run, or none to resume.
        DataError: every checkpoint of the run to resume is damaged.
        NotTheAgentsFault: not one episode of a step could be used; the first error is named.
        RunStopped: loss or gradient were not finite too often, or the disk is full.
    """
    run = Run.reopen(folder, config) if resume else None
    if run is not None and run.finished:
        report(f"{folder} is finished: all {config.steps} steps are done")
        return run
    learner = _Learner.open(config, folder, resume, report)
    run, policy, reached = learner.run, learner.policy, learner.step
    if not reached:
        examine_expert(run, report)
        examine(run, policy, 0, "before", report)
    try:
        for step in range(reached, config.steps):
            if step and config.evaluation.every and step % config.evaluation.every == 0:
                examine(run, policy, step, "during", report)
            began = time.perf_counter()
            groups = plan(config, learner.tasks, step)
            done = explore(run, policy, learner.rubric, groups, step, report)
            seconds = time.perf_counter() - began
            with interrupts_deferred(), keyed_generators(config.seed, "step", step):
                result = learn(run, policy, learner.suite, learner.optimizer, done, step)
                result = replace(result, seconds={"rollout": seconds, **result.seconds})
                run.log_step(result)
                report(line(result, config.steps))
                reached = step + 1
            _stop_if_stuck(run, result)
            if reached % config.checkpoint_every == 0 or reached == config.steps:
                learner.save(reached)
    except StorageFailure:
        raise  # a disk that took no checkpoint will not take this one
    except (KeyboardInterrupt, NotTheAgentsFault, RunStopped):
        learner.save(reached)
        report(f"stopped after {reached} steps; continue with --resume")
        raise
    examine(run, policy, config.steps, "after", report)
    run.finish()
    return run


@dataclass(frozen=True, slots=True, kw_only=True)
class _Learner:
    """A run with everything that its steps change, as it was after `step` steps."""

    run: Run
    policy: Policy
    suite: Suite
    optimizer: torch.optim.Optimizer
    rubric: Rubric | None
    tasks: Sequence[str]
    step: int

    @classmethod
    def open(cls, config: TrainConfig, folder: Path, resume: bool, report: Report) -> _Learner:
        """From the newest whole checkpoint, or from the start."""
        if config.threads:
            torch.set_num_threads(config.threads)
        saved = checkpoint.latest(folder, report) if resume else None
        step = 0 if saved is None else checkpoint.read_state(saved).step
        with keyed_generators(config.seed, "start"):
            policy = Policy.load(config.policy, saved, deterministic=config.rollout.deterministic)
            tasks = config.env.make().tasks("train")
            suite = open_suite(config, policy, tasks)
        optimizer = make_optimizer(policy.model, config.optimizer)
        if saved is not None:
            checkpoint.load_optimizer(saved, optimizer)
            suite.load_state_dict(checkpoint.load_signals(saved))
        rubric = config.rewards.rubric()
        # Only now, when everything that a mistake could break has been loaded.
        run = Run.reopen(folder, config) if resume else Run.start(folder, config)
        if resume:
            run.take_back(step)
            report(f"resumed at step {step}" + (f" from {saved}" if saved else ""))
        return cls(
            run=run,
            policy=policy,
            suite=suite,
            optimizer=optimizer,
            rubric=rubric,
            tasks=tasks,
            step=step,
        )

    def save(self, step: int) -> None:
        """Write the checkpoint after `step` steps."""
        run, policy = self.run, self.policy
        state = checkpoint.State(step=step, config_hash=run.config_hash)
        models = (policy.model, policy.tokenizer, self.optimizer)
        keep = run.config.keep_checkpoints
        checkpoint.save(run.folder, *models, state, keep, self.suite.state_dict())


def _stop_if_stuck(run: Run, result: StepResult) -> None:
    limit = run.config.max_skipped_steps
    if result.skipped and run.skipped_in_a_row() >= limit:
        path = run.evidence_path(result.step)
        raise RunStopped(
            f"loss or gradient were not finite in {limit} steps in a row. The batch of the last "
            f"one: turngym.trainers.evidence.load_evidence({str(path)!r})"
        )
