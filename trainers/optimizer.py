"""AdamW for the policy, its learning rate over a run, and fp32 weights behind a bf16 model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from turngym.trainers.config import OptimizerConfig

__all__ = ["PolicyOptimizer", "learning_rate", "whole"]


class PolicyOptimizer:
    """AdamW over the trainable weights, in fp32 whatever the model computes in.

    A bf16 weight takes steps of about 1/256 of its size and no smaller ones, so a small learning
    rate would change nothing. Such a weight has an fp32 master here: gradients are added up in the
    master, AdamW moves it, and the model gets it rounded. Weight decay is on matrices only, as is
    usual for transformers.

    Args:
        model: whose weights with `requires_grad` are trained; they may be DTensors.
        config: rate, betas, decay.
        saved: the model whose weights go into checkpoints, if it is another one; what it holds
            rounded is part of `state_dict()`.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        config: OptimizerConfig,
        saved: torch.nn.Module | None = None,
    ) -> None:
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._rounded = {n: p for n, p in trained.items() if p.dtype != torch.float32}
        self._masters = {n: p.detach().float().clone() for n, p in self._rounded.items()}
        for name, weight in self._rounded.items():
            master = self._masters[name]
            weight.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                partial(_move_gradient, master)
            )
        for name, weight in () if saved is None else saved.named_parameters():
            if name in trained and weight.dtype != torch.float32:
                self._masters.setdefault(name, trained[name])
        self.weights = [self._masters.get(name, weight) for name, weight in trained.items()]
        self._adamw = torch.optim.AdamW(
            [
                {
                    "params": [w for w in self.weights if w.ndim > 1],
                    "weight_decay": config.weight_decay,
                },
                {"params": [w for w in self.weights if w.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=config.betas,
        )

    def set_rate(self, rate: float) -> None:
        """The learning rate of the steps to come."""
        for group in self._adamw.param_groups:
            group["lr"] = rate

    def zero_grad(self) -> None:
        """Forget all gradients."""
        self._adamw.zero_grad(set_to_none=True)

    def clip(self, max_norm: float) -> float:
        """Scale the gradients down to `max_norm`; gives their norm before.

        Squares are added in fp64: in fp32 the norm of a large matrix is off in the fifth digit, and
        by another amount when the matrix is sharded.
        """
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        norms = [whole(torch.linalg.vector_norm(g, dtype=torch.float64)) for g in gradients]
        norm = float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0
        if norm > max_norm:
            for gradient in gradients:
                gradient.mul_(max_norm / norm)
        return norm

    @torch.no_grad()
    def step(self) -> None:
        """Move the weights by the gradients."""
        self._adamw.step()
        self._round()

    def state_dict(self) -> dict[str, Any]:
        """Moments and masters as whole tensors, the same from one process as from several, all of
        which must ask together."""
        found = self._adamw.state_dict()
        moments = {
            index: {key: whole(value) for key, value in state.items()}
            for index, state in found["state"].items()
        }
        masters = {name: whole(master) for name, master in self._masters.items()}
        return {**found, "state": moments, "masters": masters}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict()` in place.

        Raises:
            ValueError: it belongs to other weights.
        """
        weights = [w for group in self._adamw.param_groups for w in group["params"]]
        moments = {
            index: {key: _like(weights[index], value) for key, value in each.items()}
            for index, each in state["state"].items()
        }
        self._adamw.load_state_dict({"state": moments, "param_groups": list(state["param_groups"])})
        for name, master in self._masters.items():
            master.copy_(_like(master, state["masters"][name]))
        self._round()

    def _round(self) -> None:
        for name, weight in self._rounded.items():
            weight.copy_(self._masters[name])


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """The rate of step `step` (from 0) of `steps`: linear warm-up, then the schedule."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    course = (step - config.warmup_steps) / max(steps - config.warmup_steps, 1)
    low = config.final_fraction
    if config.schedule == "linear":
        return config.learning_rate * (1 - (1 - low) * course)
    if config.schedule == "cosine":
        return config.learning_rate * (low + (1 - low) * (1 + math.cos(math.pi * course)) / 2)
    return config.learning_rate


def whole(tensor: Any) -> Tensor:
    """The full tensor behind a shard (a DTensor), or the tensor itself. All ranks ask together."""
    full: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full


def _like(weight: Any, value: Tensor) -> Tensor:
    """`value` as shards, if `weight` is sharded and `value` has its shape."""
    if not hasattr(weight, "full_tensor") or value.shape != weight.shape:
        return value
    from torch.distributed.tensor import distribute_tensor  # takes a second to import

    return distribute_tensor(value.to(weight.device), weight.device_mesh, weight.placements)


def _move_gradient(master: Tensor, weight: Tensor) -> None:
    """Add a bf16 gradient to the fp32 one and free it, as soon as backward has made it."""
    gradient, weight.grad = weight.grad, None
    assert gradient is not None
    master.grad = gradient.float() if master.grad is None else master.grad.add_(gradient)
