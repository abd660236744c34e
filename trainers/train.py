"""The training loop: rollout -> batch -> signals -> credit -> losses -> step.

    turngym train web_shop

A run is a pure function of its settings and of the checkpoint it starts from: tasks, seeds, orders
and global generators are derived from (seed, step), so that nothing but weights, optimizers and the
models of signals needs restoring.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from turngym.errors import NotTheAgentsFault, RunStopped, StorageFailure
from turngym.rewards.rubric import Rubric
from turngym.trainers import checkpoint
from turngym.trainers.config import TrainConfig
from turngym.trainers.examine import examine, examine_expert
from turngym.trainers.generators import keyed_generators
from turngym.trainers.interrupt import interrupts_deferred
from turngym.trainers.learn import learn
from turngym.trainers.measure import open_suite
from turngym.trainers.plan import plan
from turngym.trainers.policy import Policy
from turngym.trainers.progress import line
from turngym.trainers.rollout import Group, rollout
from turngym.trainers.run import Run
from turngym.trainers.step import make_optimizer
from turngym.trainers.types import StepResult
from turngym.types import Trajectory

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
    saved = checkpoint.latest(folder, report) if resume else None
    start = 0 if saved is None else checkpoint.read_state(saved).step
    if config.threads:
        torch.set_num_threads(config.threads)
    with keyed_generators(config.seed, "start"):
        policy = Policy.load(config.policy, saved, deterministic=config.rollout.deterministic)
        tasks = config.env.make().tasks("train")
        suite = open_suite(config, policy, tasks)
        rubric = config.rewards.rubric()
    # Only now, when everything that a mistake could break has been loaded.
    run = run or Run.start(folder, config)
    if resume:
        run.take_back(start)
    optimizer = make_optimizer(policy.model, config.optimizer)
    if saved is not None:
        checkpoint.load_optimizer(saved, optimizer)
        suite.load_state_dict(checkpoint.load_signals(saved))
        report(f"resumed at step {start} from {saved}")

    def save(step: int) -> None:
        state = checkpoint.State(step=step, config_hash=run.config_hash)
        models = (policy.model, policy.tokenizer, optimizer)
        checkpoint.save(folder, *models, state, config.keep_checkpoints, suite.state_dict())

    if saved is None:
        examine_expert(run, report)
        examine(run, policy, 0, "before", report)
    reached = start
    try:
        for step in range(start, config.steps):
            if step and config.evaluation.every and step % config.evaluation.every == 0:
                examine(run, policy, step, "during", report)
            done, seconds = _explore(run, policy, rubric, plan(config, tasks, step), step)
            with interrupts_deferred(), keyed_generators(config.seed, "step", step):
                result = learn(run, policy, suite, optimizer, done, step)
                result = replace(result, seconds={"rollout": seconds, **result.seconds})
                run.log_step(result)
                report(line(result, config.steps))
                reached = step + 1
            _stop_if_stuck(run, result)
            if reached % config.checkpoint_every == 0 or reached == config.steps:
                save(reached)
    except StorageFailure:
        raise
    except (KeyboardInterrupt, NotTheAgentsFault, RunStopped):
        save(reached)
        report(f"stopped after {reached} steps; continue with --resume")
        raise
    examine(run, policy, config.steps, "after", report)
    run.finish()
    return run


def _explore(
    run: Run, policy: Policy, rubric: Rubric | None, groups: list[Group], step: int
) -> tuple[list[Trajectory], float]:
    """The step's trajectories and the seconds they took; changes no weights."""
    config, began = run.config, time.perf_counter()
    policy.agent.load(policy.model, version=step)
    with run.trajectories(f"step-{step:06d}") as writer:
        done = rollout(
            config.env.make,
            policy.agent,
            groups,
            config.rollout,
            rubric=rubric,
            on_episode=writer.write,
        )
    if not any(trajectory.status.counts for trajectory in done):
        broken = next((t for t in done if t.error), done[0])
        raise NotTheAgentsFault(
            f"none of {len(done)} episodes of step {step} can be trained on; {broken.episode} "
            f"ended as {broken.status}:\n{broken.error}"
        )
    return done, time.perf_counter() - began


def _stop_if_stuck(run: Run, result: StepResult) -> None:
    limit = run.config.max_skipped_steps
    if result.skipped and run.skipped_in_a_row() >= limit:
        path = run.evidence_path(result.step)
        raise RunStopped(
            f"loss or gradient were not finite in {limit} steps in a row. The batch of the last "
            f"one: turngym.trainers.evidence.load_evidence({str(path)!r})"
        )
