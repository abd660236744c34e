"""The training loop: rollout -> batch -> signals -> credit -> losses -> step.

    turngym train web_shop

A run is a pure function of its settings and of the checkpoint it starts from: tasks, seeds and
orders are derived from (seed, step), so that nothing but weights and optimizer needs restoring.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from turngym.errors import NotTheAgentsFault
from turngym.trainers import checkpoint
from turngym.trainers.batch import collate
from turngym.trainers.config import TrainConfig
from turngym.trainers.credit import credit_method
from turngym.trainers.examine import examine, examine_expert
from turngym.trainers.interrupt import interrupts_deferred
from turngym.trainers.measure import open_suite, require_turn_rewards
from turngym.trainers.optimizer import PolicyOptimizer, learning_rate
from turngym.trainers.plan import plan
from turngym.trainers.policy import Policy
from turngym.trainers.progress import figures, line
from turngym.trainers.rollout import Group, rollout
from turngym.trainers.run import Run
from turngym.trainers.signals import Suite
from turngym.trainers.step import update
from turngym.trainers.types import StepResult
from turngym.types import Trajectory

__all__ = ["train"]

Report = Callable[[str], None]


def train(
    config: TrainConfig, folder: Path, *, resume: bool = False, report: Report = print
) -> Run:
    """Train a policy and leave everything under `folder`.

    Interrupted (Ctrl-C), it finishes an update that is under way and writes a checkpoint.

    Raises:
        ConfigError: the folder holds another run, or none to resume.
        NotTheAgentsFault: not one episode of a step could be used; the first error is named.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    saved = checkpoint.latest(folder) if resume else None
    start = 0 if saved is None else checkpoint.read_state(saved).step
    policy = Policy.load(config.policy, saved, deterministic=config.rollout.deterministic)
    tasks = config.env.make().tasks("train")
    suite = open_suite(config, policy, tasks)
    # Only now, when everything that a mistake could break has been loaded.
    run = Run.resume(folder, config, start) if resume else Run.start(folder, config)
    optimizer = PolicyOptimizer(policy.model, config.optimizer)
    if saved is None:
        examine_expert(run, report)
        examine(run, policy, 0, "before", report)
    else:
        optimizer.load_state_dict(checkpoint.load_optimizer(saved))
        suite.load_state_dict(checkpoint.load_signals(saved))
        report(f"resumed at step {start} from {saved}")

    def save(step: int) -> None:
        state = checkpoint.State(step=step, config_hash=run.config_hash)
        models = (policy.model, policy.tokenizer, optimizer.state_dict())
        states = suite.state_dict()
        checkpoint.save(folder, *models, state, config.keep_checkpoints, states)

    reached = start
    try:
        for step in range(start, config.steps):
            if step and config.evaluation.every and step % config.evaluation.every == 0:
                examine(run, policy, step, "during", report)
            done, seconds = _explore(run, policy, plan(config, tasks, step), step)
            with interrupts_deferred():
                result = _learn(config, policy, suite, optimizer, done, step)
                result = replace(result, seconds={"rollout": seconds, **result.seconds})
                run.log_step(result)
                report(line(result, config.steps))
                reached = step + 1
            if reached % config.checkpoint_every == 0 or reached == config.steps:
                save(reached)
    except (KeyboardInterrupt, NotTheAgentsFault):
        save(reached)
        report(f"stopped after {reached} steps; continue with --resume")
        raise
    examine(run, policy, config.steps, "after", report)
    return run


def _explore(
    run: Run, policy: Policy, groups: list[Group], step: int
) -> tuple[list[Trajectory], float]:
    """The step's trajectories and the seconds they took; changes no weights."""
    config, began = run.config, time.perf_counter()
    policy.agent.load(policy.model, version=step)
    with run.trajectories(f"step-{step:06d}") as writer:
        done = rollout(
            config.env.make, policy.agent, groups, config.rollout, on_episode=writer.write
        )
    if not any(trajectory.status.counts for trajectory in done):
        broken = next((t for t in done if t.error), done[0])
        raise NotTheAgentsFault(
            f"none of {len(done)} episodes of step {step} can be trained on; {broken.episode} "
            f"ended as {broken.status}:\n{broken.error}"
        )
    return done, time.perf_counter() - began


def _learn(
    config: TrainConfig,
    policy: Policy,
    suite: Suite,
    optimizer: PolicyOptimizer,
    trajectories: list[Trajectory],
    step: int,
) -> StepResult:
    """Everything that changes weights: of the signals' models and of the policy."""
    began = time.perf_counter()
    batch, signals = suite.measure(trajectories, collate(trajectories).to(policy.device))
    if step == 0:
        require_turn_rewards(config, batch)
    credit = credit_method(config.credit)(batch)
    signals |= suite.learn(trajectories, batch, credit)
    rate = learning_rate(config.optimizer, step, config.steps)
    optimizer.set_rate(rate)
    done = update(policy.model, optimizer, batch, credit, config, step)
    credited = {name: float(value) for name, value in credit.metrics.items()}
    metrics = {**figures(trajectories, batch), **credited, **signals, **done.metrics}
    return StepResult(
        step=step,
        loss=done.loss,
        grad_norm=done.grad_norm,
        learning_rate=rate,
        num_tokens=batch.num_tokens,
        num_turns=batch.num_turns,
        policy_version=step,
        skipped=done.skipped > 0,
        seconds={"update": time.perf_counter() - began},
        metrics=metrics,
    )
