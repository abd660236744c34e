"""The policy in training: model, tokenizer and the agent that samples from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

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
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    from turngym.agents.tiny import load_tiny

    disable_progress_bar()  # our own reports say what takes long
    source = str(checkpoint or config.path)
    if source.startswith("tiny:"):
        return load_tiny(source.removeprefix("tiny:"))
    if checkpoint is not None and not any(checkpoint.glob("*.safetensors")):
        raise ConfigError(
            f"no model in {checkpoint}: a checkpoint is a folder such as "
            "RUN/checkpoints/step-000020"
        )
    if "/" in source and source.startswith((".", "/", "~")) and not Path(source).is_dir():
        raise ConfigError(f"there is no model folder {source}")
    try:
        model = AutoModelForCausalLM.from_pretrained(source, attn_implementation=config.attention)
        return model, AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, SafetensorError) as error:
        resumable = checkpoint is not None and (checkpoint / "state.json").exists()
        hint = "; delete this checkpoint to continue from the one before" if resumable else ""
        raise ConfigError(f"cannot load a policy from {source!r}: {error}{hint}") from error


def _device(name: str) -> str:
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
