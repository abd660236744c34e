"""Log-probabilities of the sampled tokens: of the policy that acted, and of a frozen reference.

Legend: N tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from turngym.trainers.forward import micro_batches, policy_output
from turngym.trainers.signals.signal import Columns, Models, NoSettings, Signal, signal
from turngym.trainers.types import PolicyOutput, TurnBatch
from turngym.types import Trajectory

__all__ = ["OldLogprobs", "Reference", "score_tokens"]


@torch.no_grad()
def score_tokens(
    model: Any, batch: TurnBatch, max_tokens: int, *, entropy: bool = False
) -> PolicyOutput:
    """What `policy_output` gives for the whole batch, in parts and without gradients."""
    logprobs = torch.zeros_like(batch.sampled_logprobs)
    spread = torch.zeros_like(logprobs) if entropy else None
    for part, tokens, _ in micro_batches(batch, max_tokens):
        output = policy_output(model, part, entropy=entropy)
        logprobs[tokens] = output.logprobs
        if spread is not None and output.entropy is not None:
            spread[tokens] = output.entropy
    return PolicyOutput(logprobs=logprobs, entropy=spread)


@signal("old_logprobs")
class OldLogprobs(Signal[NoSettings]):
    """The trainer's log-probabilities before the update (`old_logprobs` of the batch) and the token
    column `entropy`, in one pass."""

    settings = NoSettings

    def columns(
        self, trajectories: Sequence[Trajectory], batch: TurnBatch, models: Models
    ) -> Columns:
        """Metric `engine_gap`: mean distance to what the engine reported, in nats."""
        output = score_tokens(models.policy, batch, models.max_tokens, entropy=True)
        assert output.entropy is not None
        gap = (output.logprobs - batch.sampled_logprobs).abs()
        return Columns(
            token={"entropy": output.entropy},
            replaced={"old_logprobs": output.logprobs},
            metrics={"engine_gap": _mean(gap, batch), "entropy": _mean(output.entropy, batch)},
        )


@signal("reference")
class Reference(Signal[NoSettings]):
    """Token column `reference_logprobs` of the policy that the run started from, for `kl_coef`.

    A policy with adapters is that policy when they are switched off; otherwise it is a second model.
    """

    settings = NoSettings

    def __init__(self, config: NoSettings, models: Models) -> None:
        super().__init__(config, models)
        self.adapted = hasattr(models.policy, "disable_adapter")
        self.model = None if self.adapted else models.initial().requires_grad_(False)

    def columns(
        self, trajectories: Sequence[Trajectory], batch: TurnBatch, models: Models
    ) -> Columns:
        """Metric `kl`: mean of log p - log q over the sampled tokens, an estimate of the KL."""
        if self.adapted:
            with models.policy.disable_adapter():
                logprobs = score_tokens(models.policy, batch, models.max_tokens).logprobs
        else:
            logprobs = score_tokens(self.model, batch, models.max_tokens).logprobs
        old = batch.sampled_logprobs if batch.old_logprobs is None else batch.old_logprobs
        return Columns(
            token={"reference_logprobs": logprobs},
            metrics={"kl": _mean(old - logprobs, batch)},
        )


def _mean(values: Tensor, batch: TurnBatch) -> float:
    """Over the trained tokens."""
    trained = (batch.loss_mask & batch.turn_mask)[batch.turn_of_token.clamp(min=0)]
    mask = trained & (batch.turn_of_token >= 0) & values.isfinite()
    return float(torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1))
