"""One rollout -> signals -> credit -> losses -> new weights: everything in a step that learns."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from turngym.trainers.batch import collate
from turngym.trainers.credit import credit_method
from turngym.trainers.details import details
from turngym.trainers.evidence import Evidence
from turngym.trainers.groups import drop_small_groups
from turngym.trainers.measure import require_turn_rewards
from turngym.trainers.policy import Policy
from turngym.trainers.progress import figures
from turngym.trainers.run import Run
from turngym.trainers.signals import Suite
from turngym.trainers.step import learning_rate, update
from turngym.trainers.types import StepResult
from turngym.types import Trajectory

__all__ = ["learn"]


def learn(
    run: Run,
    policy: Policy,
    suite: Suite,
    optimizer: torch.optim.Optimizer,
    trajectories: Sequence[Trajectory],
    step: int,
) -> StepResult:
    """Everything that changes weights: of the signals' models and of the policy.

    Args:
        run: gives the settings, keeps the credit of a few episodes token by token, and the batch of a
            step that had to be skipped.
        policy: in training.
        suite: its signals.
        optimizer: of the policy.
        trajectories: of one rollout, failures included.
        step: number of the step.

    Raises:
        NotTheAgentsFault: no group has `min_group_size` members left.
    """
    config, began = run.config, time.perf_counter()
    batch, dropped = drop_small_groups(collate(trajectories), config.min_group_size)
    batch, signals = suite.measure(trajectories, batch.to(policy.device))
    if step == 0:
        require_turn_rewards(config, batch)
    credit = credit_method(config.credit)(batch)
    signals |= suite.learn(trajectories, batch, credit)
    rate = learning_rate(config.optimizer, step, config.steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
    done = update(policy.model, optimizer, batch, credit, config, step)
    run.log_details(step, details(trajectories, credit, done, config))
    credited = {name: float(value) for name, value in credit.metrics.items()}
    metrics = {**figures(trajectories, batch), **credited, **signals, **done.metrics}
    skipped = ("policy",) * (done.skipped > 0) + suite.skipped(signals)
    if skipped:
        evidence = Evidence(
            step=step,
            loss=done.loss,
            grad_norm=done.grad_norm,
            skipped=skipped,
            batch=batch,
            credit=credit,
        )
        run.keep_evidence(evidence)
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
        metrics={**metrics, "dropped_groups": float(dropped)},
    )
