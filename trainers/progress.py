"""Figures of a step over its episodes, and the line that a person reads."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from turngym.trainers.types import StepResult, TurnBatch
from turngym.types import Trajectory

__all__ = ["figures", "line"]


def figures(trajectories: Sequence[Trajectory], batch: TurnBatch) -> dict[str, float]:
    """Rates over the episodes that count, and how many of each status there were."""
    counted = [t for t in trajectories if t.status.counts]
    size = len(counted)
    statuses = Counter(t.status.value for t in trajectories)
    sampled = int((batch.turn_of_token >= 0).sum())
    return {
        "success": sum(bool(t.success) for t in counted) / size,
        "outcome": math.fsum(t.outcome or 0.0 for t in counted) / size,
        "turns": sum(len(t.turns) for t in counted) / size,
        "reply_tokens": sampled / max(batch.num_turns, 1),
        "invalid_actions": sum(u.status == "invalid_action" for t in counted for u in t.turns)
        / size,
        **{f"status/{name}": float(count) for name, count in sorted(statuses.items())},
    }


def line(result: StepResult, steps: int) -> str:
    """One step in one line; says so when there was nothing to learn."""
    seconds, metrics = result.seconds, result.metrics
    silent = result.grad_norm == 0
    return (
        f"step {result.step + 1}/{steps}  success {metrics['success']:.2f}  "
        f"outcome {metrics['outcome']:.3f}  loss {result.loss:+.4f}  "
        f"grad {result.grad_norm:.2f}  entropy {metrics['entropy']:.2f}  "
        f"{seconds['rollout'] + seconds['update']:.1f} s"
        + ("  (nothing to learn: no group has two different scores)" if silent else "")
    )
