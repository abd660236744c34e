"""The policy in training: model, tokenizer and the agent that samples from it."""

from __future__ import annotations

import atexit
import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import torch

from turngym.agents.hf import HFAgent
from turngym.agents.load import load_model
from turngym.errors import ConfigError, MissingExtraError
from turngym.trainers.config import LoraConfig, PolicyConfig
from turngym.trainers.optimizer import whole

__all__ = ["Policy", "blocks"]

ADAPTER = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Policy:
    """One model, seen by the trainer as weights and by the rollout as an agent."""

    model: Any
    """Whose weights are trained."""
    tokenizer: Any
    agent: Any
    device: torch.device
    actor: Any
    """What the agent samples from: the same model, or a copy that `publish` brings up to date."""

    @classmethod
    def load(
        cls,
        config: PolicyConfig,
        checkpoint: Path | None = None,
        *,
        deterministic: bool = True,
        copied: bool = False,
    ) -> Policy:
        """The policy named in the settings, or the one in a checkpoint folder.

        Args:
            config: model, precision, adapters.
            checkpoint: a folder with a model, or with the adapters of one.
            deterministic: that of the rollouts the policy is used in: it makes the agent wait for
                every live episode.
            copied: sample from a copy, whose weights stay while the model is trained.

        Raises:
            ConfigError: nothing can be loaded from there.
            MissingExtraError: adapters without peft.
        """
        if config.vllm is not None and deterministic:
            raise ConfigError(
                "vLLM forms other batches in every run: set rollout.deterministic=false with it"
            )
        device = torch.device(_device(config.device))
        model, tokenizer = _load(config, checkpoint)
        model = model.to(device=device, dtype=getattr(torch, config.dtype))
        served = None if config.vllm is None else _engine(config, checkpoint, model, tokenizer)
        if config.lora is not None:
            model = _adapted(model, config.lora, checkpoint)
        actor = _copy(model) if copied else model
        if config.gradient_checkpointing:
            _recompute(model)
        agent = served or HFAgent(actor, tokenizer, deterministic=deterministic)
        return cls(model, tokenizer, agent, device, actor)

    @torch.no_grad()
    def publish(self, version: int) -> None:
        """Let the agent sample from the weights of now, which are number `version`.

        All ranks of a sharded policy must ask together.
        """
        if self.actor is not self.model:
            served = dict(self.actor.named_parameters())
            for name, weight in self.model.named_parameters():
                if weight.requires_grad:
                    served[name].copy_(whole(weight))
        self.agent.load(self.actor, version)

    def export(self, folder: Path) -> None:
        """Write model and tokenizer in Hugging Face format, adapters merged into the weights."""
        model = self.actor
        if hasattr(model, "merge_and_unload"):
            model = copy.deepcopy(model).merge_and_unload()
        model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def blocks(model: Any) -> Iterator[torch.nn.Module]:
    """The transformer blocks of a Hugging Face model, first to last."""
    names = set(model._no_split_modules or ())
    return (module for module in model.modules() if type(module).__name__ in names)


def _recompute(model: Any) -> None:
    """Gradient checkpointing of each block, in evaluation mode too: dropout would make the
    log-probabilities of one and the same weights differ."""
    from torch.utils.checkpoint import checkpoint

    for block in blocks(model):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def _engine(config: PolicyConfig, checkpoint: Path | None, model: Any, tokenizer: Any) -> Any:
    """A vLLM engine with the weights of `model`, before any adapters."""
    from turngym.agents.vllm import VLLMAgent

    options = {"dtype": config.dtype, **(config.vllm or {})}
    if config.lora is not None:
        options = {"enable_lora": True, "max_lora_rank": config.lora.rank, **options}
    if Path(config.path).is_dir() and (checkpoint is None or config.lora is not None):
        return VLLMAgent(config.path, tokenizer, **options)
    folder = Path(mkdtemp(prefix="turngym-model-"))
    atexit.register(rmtree, folder, ignore_errors=True)  # a restarted engine reads it again
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return VLLMAgent(folder, tokenizer, **options)


def _copy(model: Any) -> Any:
    """A copy for sampling; the memory of weights that are not trained is shared."""
    frozen = (p for p in model.parameters() if not p.requires_grad)
    shared = {id(p): torch.nn.Parameter(p.data, requires_grad=False) for p in frozen}
    return copy.deepcopy(model, shared).requires_grad_(False)


def _adapted(model: Any, config: LoraConfig, checkpoint: Path | None) -> Any:
    """`model` with adapters that are trained: fresh ones, which change nothing yet, or those of a
    checkpoint."""
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError("peft", "lora") from error

    if checkpoint is not None and not (checkpoint / ADAPTER).exists():
        raise ConfigError(f"{checkpoint} holds no adapters, but policy.lora is set")
    target = config.target if isinstance(config.target, str) else list(config.target)
    settings = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules=target,
    )
    with warnings.catch_warnings(), torch.random.fork_rng():
        # peft reads a name that transformers is about to drop.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        torch.manual_seed(0)  # the same adapters in every run, on every rank
        if checkpoint is not None:
            adapted = peft.PeftModel.from_pretrained(model, checkpoint, is_trainable=True)
        else:
            adapted = peft.get_peft_model(model, settings)
    return adapted.eval()


def _load(config: PolicyConfig, checkpoint: Path | None) -> tuple[Any, Any]:
    """Model and tokenizer, before any adapters."""
    if checkpoint is not None and not any(checkpoint.glob("*.safetensors")):
        raise ConfigError(
            f"no model in {checkpoint}: a checkpoint is a folder such as "
            "RUN/checkpoints/step-000020"
        )
    if checkpoint is not None and config.lora is None and (checkpoint / ADAPTER).exists():
        raise ConfigError(
            f"{checkpoint} holds adapters: give the settings of the run they come from "
            "(policy.lora), or merge them with `turngym merge`"
        )
    source = str(config.path if checkpoint is None or config.lora is not None else checkpoint)
    try:
        return load_model(source, config.attention)
    except ConfigError as error:
        resumable = checkpoint is not None and (checkpoint / "state.json").exists()
        hint = "; delete this checkpoint to continue from the one before" if resumable else ""
        raise ConfigError(f"{error}{hint}") from error


def _device(name: str) -> str:
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
