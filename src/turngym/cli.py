"""The command line: one app, one module of commands per topic.

To add a command, write a function in `turngym/cli_TOPIC.py` and name it in `COMMANDS`. Such modules
import what a command needs inside the command, so that `turngym --help` stays quick.
"""

from collections.abc import Callable, Mapping
from typing import Any

import typer
from typer.core import TyperGroup

from turngym import (
    __version__,
    cli_credit,
    cli_dpo,
    cli_emobench,
    cli_envs,
    cli_formats,
    cli_judge,
    cli_new,
    cli_play,
    cli_report,
    cli_search,
    cli_serve,
    cli_swe,
    cli_train,
)
from turngym.errors import NotTheAgentsFault, RunStopped, TurnGymError

__all__ = ["COMMANDS", "app"]

COMMANDS: Mapping[str, Callable[..., None]] = {
    "envs": cli_envs.envs,
    "check": cli_envs.check,
    "play": cli_play.play,
    "rollout": cli_train.rollout,
    "sft": cli_train.sft,
    "train": cli_train.train,
    "dpo": cli_dpo.dpo,
    "eval": cli_train.evaluate,
    "credit": cli_credit.credit,
    "rescore": cli_credit.rescore,
    "merge": cli_dpo.merge,
    "emobench": cli_emobench.emobench,
    "check-judge": cli_judge.check_judge,
    "report": cli_report.report,
    "view": cli_report.view,
    "plot": cli_report.plot,
    "diff": cli_report.diff,
    "export": cli_formats.export,
    "import": cli_formats.import_,
    "serve": cli_serve.serve,
    "serve-search": cli_search.serve_search,
}
"""Commands in the order in which `turngym --help` shows them."""

HELP = """Agentic text environments and multi-turn RL.

First steps:

    turngym envs                         what there is

    turngym play turngym/WebShop-v0      try one yourself

    turngym train web_shop               train a small policy on the CPU

    turngym report runs/web_shop         look at what happened

    turngym new env echo                 write your own

    turngym check echo_env:Echo-v0       see whether it keeps the contract

Add --help to any command for its own examples.
"""


_FAILURES = (NotTheAgentsFault, RunStopped)


class _Group(TyperGroup):
    """Prints errors of turngym as one line: exit code 2 for mistakes of the user, 1 for failures."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except TurnGymError as error:
            if ctx.params.get("debug"):
                raise
            typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
            raise typer.Exit(1 if isinstance(error, _FAILURES) else 2) from error
        except OSError as error:  # a path that cannot be read or written
            if ctx.params.get("debug") or error.filename is None:
                raise
            text = f"error: {error.filename}: {error.strerror}"
            typer.secho(text, fg=typer.colors.RED, err=True)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            typer.secho("interrupted", fg=typer.colors.YELLOW, err=True)
            raise typer.Exit(130) from error


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    help=HELP,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"turngym {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


for _name, _command in COMMANDS.items():
    app.command(_name)(_command)
app.add_typer(cli_new.app, name="new")
app.add_typer(cli_swe.app, name="swe")
