"""Commands that run agents: train, eval, rollout, sft."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from turngym.envs.env import TextEnv
from turngym.errors import ConfigError, DataError
from turngym.types import Agent, Trajectory

if TYPE_CHECKING:
    from turngym.trainers.evaluate import Evaluation

__all__ = ["evaluate", "rollout", "sft", "train"]

AGENTS = "random, tiny:NAME, hf:PATH, http://HOST:PORT/v1#MODEL, replay:FILE or record:FILE:AGENT"

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
    on: Annotated[
        str | None,
        typer.Option(help="A recipe whose environment, policy, sampling and evaluation to use."),
    ] = None,
) -> None:
    """Train a policy with multi-turn RL.

    Examples:

        turngym train web_shop

        turngym train mapo --on emotional_support

        turngym train web_shop steps=20 credit.method=rloo --out runs/try

        turngym train web_shop --out runs/try --resume
    """
    _say_loading()
    from turngym.report.folder import RunFolder
    from turngym.report.plot import draw_curves
    from turngym.trainers.config import load_recipe
    from turngym.trainers.train import train as run_training

    config = load_recipe(recipe, overrides or [], on=on)
    name = Path(recipe).stem if on is None else f"{Path(recipe).stem}-{Path(on).stem}"
    folder = out or Path("runs") / name
    run = run_training(config, folder, resume=resume, report=typer.echo)
    if os.environ.get("RANK", "0") != "0":
        return  # one of several processes that torchrun started: the first one speaks
    typer.echo("")
    for line in run.evaluations():
        found = line["success"]
        typer.echo(
            f"{line['label']:>12}  held-out success {found['value']:.3f} "
            f"[{found['low']:.3f}, {found['high']:.3f}]  outcome {line['outcome']['value']:.3f}"
        )
    try:
        names = ("success", "outcome")
        run_folder = RunFolder.open(folder)
        drawn = draw_curves([run_folder], folder / "curve.png", names=names, bands=False)
        typer.echo(f"curve: {drawn}")
    except ImportError as error:
        typer.echo(f"no picture: {error}")
    typer.echo(f"run:   {folder}")


def evaluate(
    recipe: Annotated[str, typer.Argument(help="A bundled recipe or the path of a TOML file.")],
    overrides: Overrides = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A checkpoint folder; default: the recipe's policy.")
    ] = None,
    agent: Annotated[
        str | None, typer.Option(help=f"Who plays instead of the policy: {AGENTS}.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the trajectories to this file.")] = None,
) -> None:
    """Evaluate a policy, or any other agent, on held-out tasks.

    Examples:

        turngym eval web_shop

        turngym eval web_shop --agent http://localhost:8000/v1#MODEL

        turngym eval web_shop evaluation.attempts=8 evaluation.temperatures=[1.0]

        turngym eval web_shop evaluation.episodes=64 --checkpoint runs/web_shop/checkpoints/step-000120
    """
    _say_loading()
    from turngym.agents.load import load_agent
    from turngym.trainers.config import load_recipe
    from turngym.trainers.evaluate import evaluate as play
    from turngym.trainers.policy import Policy

    config = load_recipe(recipe, overrides or [])
    deterministic = config.rollout.deterministic
    _refuse_existing(out)
    if agent is None:
        player = Policy.load(config.policy, checkpoint, deterministic=deterministic).agent
    elif checkpoint is None:
        player = load_agent(agent, deterministic=deterministic)
    else:
        raise ConfigError("--agent and --checkpoint both say who plays: give one of them")
    episodes = config.evaluation.episodes * config.evaluation.attempts
    for temperature in config.evaluation.temperatures:
        with _watched(f"temperature {temperature:g}", episodes, out) as on_episode:
            found = play(
                config.env.make,
                player,
                split=config.evaluation.split,
                episodes=config.evaluation.episodes,
                sampling=config.sampling.sampling(temperature=temperature),
                attempts=config.evaluation.attempts,
                seed=config.seed,
                config=config.rollout,
                on_episode=on_episode,
            )
        _print_evaluation(f"temperature {temperature:g}", found)


def rollout(
    env: Annotated[str, typer.Argument(help="Id from `turngym envs`.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="Settings of the environment, such as size=demo.")
    ] = None,
    agent: Annotated[
        str,
        typer.Option(help=f"expert, expert:NOISE, {AGENTS}."),
    ] = "expert",
    episodes: Annotated[int, typer.Option(help="How many.", min=1)] = 8,
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "train",
    temperature: Annotated[float, typer.Option(help="0 is greedy.", min=0)] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(help="Longest reply.", min=1)] = 64,
    seed: Annotated[int, typer.Option(help="Keys tasks and sampling.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write the trajectories to this file.")] = None,
    workers: Annotated[
        str,
        typer.Option(help="Where environments run: ray:8 is eight processes of a Ray cluster."),
    ] = "",
) -> None:
    """Play episodes with an agent and report what came out.

    Examples:

        turngym rollout turngym/WebShop-v0 size=demo --episodes 100

        turngym rollout turngym/WebShop-v0 size=demo --agent tiny:web_shop --out episodes.jsonl

        turngym rollout turngym/WebShop-v0 --agent http://localhost:8000/v1#MODEL --workers ray:8
    """
    from turngym.cli_envs import make_env
    from turngym.config import parse
    from turngym.trainers.evaluate import evaluate as play
    from turngym.trainers.rollout import RolloutConfig
    from turngym.types import Sampling

    _refuse_existing(out)
    config = parse(RolloutConfig, {"workers": workers}, source="--workers")
    player = _agent(agent, lambda: make_env(env, settings), seed)
    with _watched("episodes", episodes, out) as on_episode:
        found = play(
            lambda: make_env(env, settings),
            player,
            split=split,
            episodes=episodes,
            sampling=Sampling(temperature=temperature, max_new_tokens=max_new_tokens),
            seed=seed,
            config=config,
            on_episode=on_episode,
        )
    if out is not None:
        typer.echo(f"{found.episodes} trajectories in {out}")
    statuses = ", ".join(f"{name} {count}" for name, count in found.statuses.items())
    typer.echo(f"success {found.success}  outcome {found.outcome}  turns {found.turns:.1f}")
    typer.echo(f"endings: {statuses}")


def sft(
    recipe: Annotated[str, typer.Argument(help="A bundled recipe or the path of a TOML file.")],
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder for the model.")] = Path("runs/sft"),
    episodes: Annotated[int, typer.Option(help="Demonstrations to learn from.", min=1)] = 4000,
    noise: Annotated[float, typer.Option(help="Mistakes of the expert.", min=0, max=1)] = 0.0,
    steps: Annotated[int, typer.Option(help="Optimizer steps.", min=1)] = 2000,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Imitate the solved episodes of this .jsonl file instead."),
    ] = None,
) -> None:
    """Fine-tune a recipe's policy on demonstrations: of the scripted expert, or from a file.

    A tiny policy takes about half a second a step on one core.

    Examples:

        turngym sft web_shop --episodes 2000 --steps 500 --out runs/sft

        turngym sft web_shop --from mine.jsonl --steps 50 --out runs/sft
    """
    _say_loading()
    from rich.console import Console
    from rich.progress import Progress

    from turngym.trainers.cold_start import demonstrate
    from turngym.trainers.config import load_recipe
    from turngym.trainers.policy import Policy
    from turngym.trainers.sft import SFTConfig
    from turngym.trainers.sft import sft as tune

    _refuse_filled(out)
    config = load_recipe(recipe, overrides or [])
    policy = Policy.load(config.policy)
    with Progress(console=Console(stderr=True)) as progress:
        if source is not None:
            demos = _solved(source, policy.tokenizer)
        else:
            playing = progress.add_task("demonstrations", total=episodes)
            demos = demonstrate(
                config.env.make,
                policy.tokenizer,
                episodes=episodes,
                noise=noise,
                seed=config.seed,
                on_episode=lambda _: progress.advance(playing),
            )
        bar = progress.add_task("training", total=steps)

        def on_step(step: int, loss: float) -> None:
            progress.advance(bar)
            if (step + 1) % 50 == 0:
                typer.echo(f"step {step + 1}/{steps}  loss {loss:.3f}")

        settings = SFTConfig(steps=steps, seed=config.seed)
        losses = tune(policy.model, demos, settings, on_step=on_step)
    policy.export(out)
    typer.echo(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}; the model is in {out}")


def _refuse_filled(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists already: choose another --out")


def _solved(source: Path, tokenizer: Any) -> list[Trajectory]:
    """The solved episodes of a file, with ids of `tokenizer`.

    Raises:
        DataError: there are none.
    """
    from turngym.agents.demonstrate import with_ids
    from turngym.serial import read_jsonl

    found = [with_ids(t, tokenizer) for t in read_jsonl(source) if t.success]
    if not found:
        raise DataError(f"{source} has no episode with success = true to imitate")
    return found


def _print_evaluation(label: str, found: Evaluation) -> None:
    statuses = ", ".join(f"{name} {count}" for name, count in found.statuses.items())
    typer.echo(
        f"{label}: success {found.success}, outcome {found.outcome}, {found.turns:.1f} turns "
        f"({statuses})"
    )
    for rate in found.passes:
        typer.echo(f"    pass@{rate.k} {rate.at}, pass^{rate.k} {rate.hat} over {rate.tasks} tasks")


def _say_loading() -> None:
    typer.echo("loading torch and transformers ...", err=True)  # takes seconds


def _refuse_existing(out: Path | None) -> None:
    if out is not None and out.exists():
        raise ConfigError(f"{out} exists already: choose another --out")


@contextmanager
def _watched(label: str, total: int, out: Path | None) -> Iterator[Callable[[Trajectory], None]]:
    """What to call with each finished episode: it moves a bar with rates and writes to `out`."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from turngym.serial import TrajectoryWriter

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f}/s"),
        TimeRemainingColumn(),
    )
    with ExitStack() as stack:
        console = Console(stderr=True)  # results go to stdout, alone
        bars = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        progress = stack.enter_context(bars)
        bar = progress.add_task(label, total=total, rate=0.0)
        writer = None if out is None else stack.enter_context(TrajectoryWriter(out))

        def on_episode(trajectory: Trajectory) -> None:
            progress.update(bar, advance=1, rate=progress.tasks[0].speed or 0.0)
            if writer is not None:
                writer.write(trajectory)

        yield on_episode


def _agent(spec: str, make_env: Callable[[], TextEnv], seed: int) -> Agent:
    kind, _, rest = spec.partition(":")
    if kind == "expert":
        from turngym.agents.scripted import ScriptedAgent
        from turngym.trainers.expert import expert_script

        try:
            noise = float(rest or 0)
        except ValueError:
            raise ConfigError(f"expert:NOISE takes a number from 0 to 1, got {rest!r}") from None
        return ScriptedAgent(expert_script(make_env(), noise=noise, seed=seed))
    from turngym.agents.load import load_agent

    if kind in ("tiny", "hf"):
        _say_loading()
    return load_agent(spec, deterministic=True)
