"""Settings of a training run: one TOML file, `trainers/recipes/*.toml`, with overrides on top."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from turngym.config import Config, apply_overrides, parse, read_toml
from turngym.envs.env import TextEnv
from turngym.envs.registry import make
from turngym.errors import ConfigError, UnknownNameError
from turngym.trainers.losses import ClipConfig
from turngym.trainers.rollout import RolloutConfig
from turngym.trainers.rubrics import RewardsConfig
from turngym.types import Sampling

__all__ = [
    "CreditSettings",
    "EnvConfig",
    "EvalConfig",
    "LoraConfig",
    "OptimizerConfig",
    "OverlongConfig",
    "PolicyConfig",
    "SamplingConfig",
    "TrainConfig",
    "load_recipe",
    "recipe_names",
    "recipe_path",
]

RECIPES = Path(__file__).resolve().parent / "recipes"
PLACE = ("env", "rewards", "policy", "sampling", "evaluation")
"""Tables of a recipe that say where an agent learns; the others say how."""


class EnvConfig(Config):
    """Which environment; keys beside `id` go to its constructor."""

    model_config = ConfigDict(extra="allow", frozen=True)

    id: str
    """A registered id, such as `turngym/WebShop-v0`."""
    agents: Mapping[str, str] = Field(default_factory=dict)
    """Agents that the environment talks to (simulated users, judges), by the name of its setting:
    `simulator = "http://localhost:8000/v1#MODEL"`."""

    def make(self) -> TextEnv:
        """A fresh environment.

        Raises:
            ConfigError: a key that the environment does not take, with the closest one it does.
            UnknownNameError: no such id.
        """
        from turngym.agents.load import load_agents

        options = self.model_extra or {}
        try:
            return make(self.id, **options, **load_agents(self.agents))
        except TypeError as error:
            if "unexpected keyword argument" not in str(error):
                raise
            raise ConfigError(f"env of {self.id}: {error}") from error


class LoraConfig(Config):
    """Low-rank adapters by peft (arXiv 2106.09685): W x + alpha / rank * B A x."""

    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    target: str | tuple[str, ...] = "all-linear"
    """Names of the modules that get one; `all-linear`: every linear layer but the head."""


class PolicyConfig(Config):
    """The model that learns."""

    path: str
    """`tiny:FAMILY` for a packaged tiny policy, or a Hugging Face name or folder."""
    device: str = "auto"
    """`auto` takes CUDA when there is one."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the model computes in; with bfloat16 the optimizer keeps fp32 weights."""
    gradient_checkpointing: bool = False
    """Keep only the input of each block for the backward pass and compute the rest again: less
    memory, about a third more work, the same gradients."""
    lora: LoraConfig | None = None
    """Train adapters and leave the weights of the model as they are."""
    attention: Literal["sdpa", "eager", "flash_attention_2", "flex_attention"] = "sdpa"
    vllm: Mapping[str, Any] | None = None
    """Sample with a vLLM engine in process instead of our own loop. The keys, such as
    gpu_memory_utilization = 0.4, are those of `VLLMAgent` and of vLLM's AsyncEngineArgs."""


class SamplingConfig(Config):
    """How replies are drawn while training."""

    temperature: float = Field(default=1.0, gt=0)
    max_new_tokens: int = Field(default=64, ge=1)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)

    def sampling(self, *, temperature: float | None = None) -> Sampling:
        """The value that agents take, perhaps at another temperature."""
        return Sampling(
            temperature=self.temperature if temperature is None else temperature,
            max_new_tokens=self.max_new_tokens,
            top_p=self.top_p,
            top_k=self.top_k,
        )


class CreditSettings(Config):
    """Which credit method; the other keys are its own settings."""

    model_config = ConfigDict(extra="allow", frozen=True)

    method: str = "grpo"
    """A registered credit method."""


class OptimizerConfig(Config):
    """AdamW and its schedule."""

    learning_rate: float = Field(default=1e-6, ge=0)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are clipped to this norm."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Course of the learning rate after the warm-up; the last two end at `final_fraction`."""
    warmup_steps: int = Field(default=0, ge=0)
    final_fraction: float = Field(default=0.1, ge=0, le=1)


class EvalConfig(Config):
    """Evaluation on held-out tasks, before and after training."""

    split: str = "test"
    episodes: int = Field(default=256, ge=0)
    """Tasks; 0 switches evaluation off."""
    attempts: int = Field(default=1, ge=1)
    """Episodes of each task; more than one gives pass@k and pass^k."""
    every: int = Field(default=0, ge=0)
    """Steps between evaluations while training; 0: only before and after."""
    temperatures: tuple[float, ...] = (1.0, 0.0)
    """Sampled and greedy."""
    patience: int = Field(default=0, ge=0)
    """Stop after so many evaluations in a row without a better success at the first temperature;
    0: never."""

    @model_validator(mode="after")
    def _patience_counts_evaluations(self) -> EvalConfig:
        if self.patience and not self.every:
            raise ValueError("patience counts evaluations while training: set evaluation.every")
        return self


class OverlongConfig(Config):
    """DAPO's soft penalty for long replies (arXiv 2503.14476 equation 13), over an episode.

    With n sampled tokens the outcome that is credited loses
    factor * min(max((n - (max_tokens - buffer)) / buffer, 0), 1).
    """

    max_tokens: int = Field(ge=1)
    """From here on the whole penalty is due."""
    buffer: int = Field(ge=1)
    """Tokens before `max_tokens` over which it grows."""
    factor: float = Field(default=1.0, gt=0)


class TrainConfig(Config):
    """Everything that a run depends on."""

    env: EnvConfig
    policy: PolicyConfig
    credit: CreditSettings = CreditSettings()
    rewards: RewardsConfig = RewardsConfig()
    """Rewards by name; empty leaves what the environment pays."""
    signals: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    """Settings of signals by name; those that the credit method needs are made anyway."""
    loss: ClipConfig = ClipConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    rollout: RolloutConfig = RolloutConfig()
    sampling: SamplingConfig = SamplingConfig()
    evaluation: EvalConfig = EvalConfig()
    seed: int = 0
    steps: int = Field(default=100, ge=1)
    groups_per_step: int = Field(default=8, ge=1)
    group_size: int = Field(default=8, ge=1)
    min_group_size: int = Field(default=1, ge=1)
    """Groups in which fewer episodes count, because the others broke, are left out of the step."""
    outage_wait_s: float = Field(default=30, ge=0)
    """When all episodes of a step are lost to a judge, a simulator or a server, it is played again
    after so many seconds, three times at most."""
    refills: int = Field(default=0, ge=0)
    """Rounds in which groups whose outcomes are all equal are replaced (DAPO's dynamic sampling);
    what is still equal after the last one is left out."""
    overlong: OverlongConfig | None = None
    mini_batches: int = Field(default=1, ge=1)
    """Optimizer steps per rollout and epoch."""
    epochs: int = Field(default=1, ge=1)
    """Passes over each rollout."""
    max_tokens_per_forward: int = Field(default=2048, ge=1)
    """Bound on the size of one forward and backward pass; the loss does not depend on it."""
    checkpoint_every: int = Field(default=20, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    details_per_step: int = Field(default=4, ge=0)
    """Trajectories per step whose credit is kept token by token under details/; 0 keeps none."""
    max_skipped_steps: int = Field(default=5, ge=1)
    """After so many steps in a row without a finite loss and gradient the run stops."""
    loggers: tuple[str, ...] = ()
    """Beside the files of the run: `tensorboard`, `wandb`, `trackio`, or `module:attribute`."""
    threads: int = Field(default=0, ge=0)
    """CPU threads of torch; 0 leaves its default."""

    @model_validator(mode="before")
    @classmethod
    def _stale_tokens_are_weighted(cls, data: Any) -> Any:
        """Tokens of older weights need importance weights; without settings of their own the
        default ones are written down, so that `config.json` shows them."""
        rollout, loss = (dict(data.get(key) or {}) for key in ("rollout", "loss"))
        if rollout.get("max_staleness") and loss.get("mismatch") is None:
            return {**data, "loss": {**loss, "mismatch": {}}}
        return data


def recipe_names() -> list[str]:
    """Names of the recipes that come with turngym."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def recipe_path(name: str) -> Path:
    """The file of a recipe: a bundled name such as `web_shop`, or a path to a TOML file.

    Raises:
        UnknownNameError: neither; the message lists the bundled ones and the closest.
    """
    if name.endswith(".toml") or Path(name).is_file():
        return Path(name)
    if name not in recipe_names():
        raise UnknownNameError("recipe", name, recipe_names(), "Or give the path of a TOML file.")
    return RECIPES / f"{name}.toml"


def load_recipe(name: str, overrides: Iterable[str] = (), *, on: str | None = None) -> TrainConfig:
    """The settings of a recipe, with overrides such as `steps=20`.

    Args:
        name: A recipe.
        overrides: Settings to change, last of all.
        on: Another recipe, which says where: its tables `env`, `rewards`, `policy`,
            `sampling` and `evaluation` stand in for those of `name`. So `load_recipe("mapo", on="tool_use")`
            trains with MAPO's credit, loss and optimizer in the tool-use environment.

    Raises:
        UnknownNameError: no such recipe.
        ConfigError: unknown key (with the closest match) or wrong value.
    """
    data = read_toml(recipe_path(name))
    if on is not None:
        place = read_toml(recipe_path(on))
        data = {key: value for key, value in data.items() if key not in PLACE}
        data |= {key: value for key, value in place.items() if key in PLACE}
    return parse(TrainConfig, apply_overrides(data, overrides), source=str(recipe_path(name)))
