"""`turngym envs` and `turngym check`, and how the command line makes an environment."""

import os
import sys
from collections.abc import Sequence

import typer

from turngym.config import apply_overrides
from turngym.envs.env import TextEnv
from turngym.envs.registry import describe, load_plugins, make

__all__ = ["SETTINGS", "check", "envs", "make_env"]

SETTINGS: list[str] = typer.Argument(
    None, metavar="KEY=VALUE", help="Settings of the environment, such as max_turns=5."
)


def make_env(name: str, settings: Sequence[str] | None) -> TextEnv:
    """The environment that a command line names; `module:Name-v0` finds files in this folder.

    Settings `agents.NAME=SPEC` become agents.
    """
    from turngym.agents.load import load_agents

    if ":" in name and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that no file here shadows an installed package
    options = apply_overrides({}, settings or ())
    return make(name, **load_agents(options.pop("agents", {})), **options)


def envs() -> None:
    """List the environments that can be made.

    Example:

        turngym envs
    """
    load_plugins()
    rows = describe()
    width = max(len(row.id) for row in rows)
    for row in rows:
        typer.echo(f"{row.id:<{width}}  {row.summary}".rstrip())


def check(
    env: str = typer.Argument(help="Id from `turngym envs`, or module:Name-v0 of a file here."),
    settings: list[str] = SETTINGS,
    seed: int = typer.Option(0, min=0, help="Seed of the episodes that are played."),
) -> None:
    """Check that an environment keeps the contract that training relies on.

    Exit code 1, and one line per broken rule, when it does not.

    Examples:

        turngym check turngym/WebShop-v0

        turngym check echo_env:Echo-v0 max_turns=3
    """
    from turngym.envs.check import inspect_env

    report = inspect_env(lambda: make_env(env, settings), seed=seed)
    for violation in report.violations:
        typer.secho(f"broken: {violation}", fg=typer.colors.RED, err=True)
    if report.violations:
        raise typer.Exit(1)
    typer.secho(f"{env}: {len(report.checked)} rules hold: {', '.join(report.checked)}")
