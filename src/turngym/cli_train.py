"""Commands that run policies: train and eval."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["evaluate", "train"]

Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Settings to change, such as steps=20 or env.catalog=PATH."),
]


def train(
    recipe: Annotated[str, typer.Argument(help="A bundled recipe or the path of a TOML file.")],
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; default runs/RECIPE.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
) -> None:
    """Train a policy with multi-turn RL.

    Examples:

        turngym train web_shop

        turngym train web_shop steps=20 credit.method=rloo --out runs/try

        turngym train web_shop --out runs/try --resume
    """
    from turngym.trainers.config import load_recipe
    from turngym.trainers.curve import draw_curve
    from turngym.trainers.train import train as run_training

    config = load_recipe(recipe, overrides or [])
    folder = out or Path("runs") / Path(recipe).stem
    run = run_training(config, folder, resume=resume, report=typer.echo)
    typer.echo("")
    for line in run.evaluations():
        found = line["success"]
        typer.echo(
            f"{line['label']:>12}  held-out success {found['value']:.3f} "
            f"[{found['low']:.3f}, {found['high']:.3f}]  outcome {line['outcome']['value']:.3f}"
        )
    try:
        typer.echo(f"curve: {draw_curve(folder, folder / 'curve.png')}")
    except ImportError as error:
        typer.echo(f"no picture: {error}")
    typer.echo(f"run:   {folder}")


def evaluate(
    recipe: Annotated[str, typer.Argument(help="A bundled recipe or the path of a TOML file.")],
    overrides: Overrides = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A checkpoint folder; default: the recipe's policy.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the trajectories to this file.")] = None,
) -> None:
    """Evaluate a policy on held-out tasks.

    Examples:

        turngym eval web_shop

        turngym eval web_shop evaluation.episodes=64 --checkpoint runs/web_shop/checkpoints/step-000120
    """
    from turngym.serial import TrajectoryWriter
    from turngym.trainers.config import load_recipe
    from turngym.trainers.evaluate import evaluate as play
    from turngym.trainers.policy import Policy

    config = load_recipe(recipe, overrides or [])
    policy = Policy.load(config.policy, checkpoint)
    writer = None if out is None else TrajectoryWriter(out)
    for temperature in config.evaluation.temperatures:
        found = play(
            config.env.make,
            policy.agent,
            split=config.evaluation.split,
            episodes=config.evaluation.episodes,
            sampling=config.sampling.sampling(temperature=temperature),
            seed=config.seed,
            config=config.rollout,
            on_episode=None if writer is None else writer.write,
        )
        statuses = ", ".join(f"{name} {count}" for name, count in found.statuses.items())
        typer.echo(
            f"temperature {temperature:g}: success {found.success}, outcome {found.outcome}, "
            f"{found.turns:.1f} turns ({statuses})"
        )
    if writer is not None:
        writer.close()
