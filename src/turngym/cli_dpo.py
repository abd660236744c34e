"""Commands around stored episodes and trained weights: dpo, merge."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from turngym.errors import ConfigError, DataError
from turngym.types import Trajectory

__all__ = ["dpo", "merge"]

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Settings to change, such as policy.path=PATH.")
]
Recipe = Annotated[str, typer.Argument(help="A bundled recipe or the path of a TOML file.")]


def dpo(
    recipe: Recipe,
    overrides: Overrides = None,
    source: Annotated[
        list[Path] | None,
        typer.Option("--from", help="A run's folder or a JSONL file of episodes; repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the model.")] = Path("runs/dpo"),
    beta: Annotated[float, typer.Option(help="Strength of the hold to the start.")] = 0.1,
    learning_rate: Annotated[float, typer.Option(help="Of AdamW, constant.")] = 1e-4,
    epochs: Annotated[int, typer.Option(help="Passes over the episodes.", min=1)] = 1,
) -> None:
    """Prefer solved to unsolved episodes: DPO on what was played before, without an environment.

    A run's folder stands for its training episodes; held-out ones are left alone.

    Examples:

        turngym train web_shop steps=3 optimizer.learning_rate=0 --out runs/played

        turngym dpo web_shop --from runs/played --out runs/dpo

        turngym eval web_shop policy.path=runs/dpo
    """
    from turngym.trainers.config import OptimizerConfig, load_recipe
    from turngym.trainers.dpo import DPOConfig, DPOStep
    from turngym.trainers.dpo import dpo as tune
    from turngym.trainers.policy import Policy

    if not source:
        raise ConfigError("dpo learns from episodes that were played: name them with --from")
    _refuse_existing(out)
    config = load_recipe(recipe, overrides or [])
    episodes = [each for path in source for each in _episodes(path)]
    policy = Policy.load(config.policy)
    settings = DPOConfig(
        optimizer=OptimizerConfig(learning_rate=learning_rate),
        beta=beta,
        epochs=epochs,
        max_tokens_per_forward=config.max_tokens_per_forward,
        seed=config.seed,
    )

    def say(step: int, steps: int, done: DPOStep) -> None:
        typer.echo(
            f"step {step + 1}/{steps}  pairs {done.pairs}  loss {done.loss:.4f}  "
            f"margin {done.margin:+.4f}  accuracy {done.accuracy:.2f}  grad {done.grad_norm:.2f}"
        )

    tune(policy.model, episodes, settings, on_step=say)
    policy.export(out)
    typer.echo(f"the model is in {out}: turngym eval {recipe} policy.path={out}")


def merge(
    recipe: Recipe,
    overrides: Overrides = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A checkpoint folder; default: the recipe's policy.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the model.")] = Path("runs/merged"),
) -> None:
    """Write a policy as a plain Hugging Face model, adapters merged into its weights.

    Example:

        turngym merge web_shop policy.lora.rank=16 --checkpoint runs/lora/checkpoints/step-000120
    """
    from turngym.trainers.config import load_recipe
    from turngym.trainers.policy import Policy

    _refuse_existing(out)
    config = load_recipe(recipe, overrides or [])
    Policy.load(config.policy, checkpoint).export(out)
    typer.echo(f"the model is in {out}")


def _episodes(path: Path) -> Iterator[Trajectory]:
    from turngym.serial import read_jsonl

    files = [path]
    if path.is_dir():
        files = sorted((path / "trajectories").glob("step-*.jsonl"))
        if not files:
            raise DataError(f"{path} is no run with training episodes (trajectories/step-*.jsonl)")
    for file in files:
        yield from read_jsonl(file)


def _refuse_existing(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} exists already: choose another --out")
