"""The policy in training: model, tokenizer and the agent that samples from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from turngym.agents.load import load_model
from turngym.errors import ConfigError
from turngym.trainers.config import PolicyConfig

__all__ = ["Policy"]


@dataclass(frozen=True, slots=True)
class Policy:
    """One model, seen by the trainer as weights and by the rollout as an agent."""

    model: Any
    tokenizer: Any
    agent: Any
    device: torch.device

    @classmethod
    def load(
        cls, config: PolicyConfig, checkpoint: Path | None = None, *, deterministic: bool = True
    ) -> Policy:
        """The policy named in the settings, or the one in a checkpoint folder.

        `deterministic` must be that of the rollouts the policy is used in: it makes the agent wait
        for every live episode.

        Raises:
            ConfigError: nothing can be loaded from there.
        """
        from turngym.agents.hf import HFAgent

        device = torch.device(_device(config.device))
        model, tokenizer = _load(config, checkpoint)
        model = model.to(device=device, dtype=getattr(torch, config.dtype))
        agent = HFAgent(model, tokenizer, deterministic=deterministic)
        return cls(model, tokenizer, agent, device)


def _load(config: PolicyConfig, checkpoint: Path | None) -> tuple[Any, Any]:
    """Model and tokenizer."""
    if checkpoint is not None and not any(checkpoint.glob("*.safetensors")):
        raise ConfigError(
            f"no model in {checkpoint}: a checkpoint is a folder such as "
            "RUN/checkpoints/step-000020"
        )
    try:
        return load_model(str(checkpoint or config.path), config.attention)
    except ConfigError as error:
        resumable = checkpoint is not None and (checkpoint / "state.json").exists()
        hint = "; delete this checkpoint to continue from the one before" if resumable else ""
        raise ConfigError(f"{error}{hint}") from error


def _device(name: str) -> str:
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
