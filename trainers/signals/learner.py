"""What the models beside the policy have in common: how they step, and one number per token.

Legend: N tokens, M rows, H hidden, V words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from turngym.agents.head import head_logits
from turngym.config import Config
from turngym.trainers.config import OptimizerConfig
from turngym.trainers.forward import lay_out
from turngym.trainers.optimizer import PolicyOptimizer
from turngym.trainers.types import TurnBatch

__all__ = ["Learner", "LearnerConfig", "ReadOut", "ScalarModel"]

ReadOut = Literal["hidden", "logits"]


class LearnerConfig(Config):
    """How a model beside the policy is trained."""

    learning_rate: float = Field(default=1e-6, ge=0)
    """Of AdamW; 0 freezes the model."""
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=10.0, gt=0)
    """Gradients are clipped to this norm."""


class Learner:
    """A model with its own AdamW, in fp32 behind a bf16 model; a step whose loss or gradient is not finite is left out."""

    def __init__(self, model: torch.nn.Module, config: LearnerConfig) -> None:
        self.model, self.config = model, config
        rule = OptimizerConfig(
            learning_rate=config.learning_rate,
            betas=(0.9, 0.999),
            weight_decay=config.weight_decay,
        )
        self.optimizer = PolicyOptimizer(model, rule)

    def step(self, loss: float) -> dict[str, float]:
        """Apply the gradients that were accumulated for `loss`, clear them and say what happened."""
        norm = self.optimizer.clip(self.config.max_grad_norm)
        sound = math.isfinite(loss) and math.isfinite(norm)
        if sound:
            self.optimizer.step()
        self.optimizer.zero_grad()
        return {"loss": loss, "grad_norm": norm, "skipped": float(not sound)}

    def state_dict(self) -> dict[str, Any]:
        """Weights and moments."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict()` in place."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


class ScalarModel(torch.nn.Module):
    """A language model with a linear head that gives one number per token.

    The head starts at 0, so that a fresh model says 0 everywhere and no generator is drawn from.

    Args:
        language_model: its body is trained, too.
        read_out: what the head sees: the last hidden state, or (as in SPA's code) the word logits.
    """

    def __init__(self, language_model: Any, read_out: ReadOut = "hidden") -> None:
        super().__init__()
        self.read_out = read_out
        self.body = language_model if read_out == "logits" else language_model.get_decoder()
        config = language_model.config
        width = config.vocab_size if read_out == "logits" else config.hidden_size
        self.single_row = "flash" in str(getattr(config, "_attn_implementation", ""))
        self.head = torch.nn.Linear(width, 1, device=language_model.device)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)

    def forward(self, batch: TurnBatch, rows: Tensor) -> Tensor:
        """[M] float32 numbers at the tokens `rows` [M], each having read its token and those before.

        Args:
            batch: on the model's device; segments never see one another.
            rows: int64 token rows.
        """
        if rows.numel() == 0:
            return self.head.bias.new_zeros(0)
        layout = lay_out(batch, single_row=self.single_row)
        decoder = self.body.get_decoder() if self.read_out == "logits" else self.body
        hidden = decoder(
            input_ids=layout.input_ids, position_ids=layout.position_ids, use_cache=False
        ).last_hidden_state
        states = hidden.reshape(-1, hidden.shape[-1])[layout.place[rows]]
        if self.read_out == "logits":
            states = head_logits(self.body, states)
        values: Tensor = self.head(states.float()).squeeze(-1)
        return values
