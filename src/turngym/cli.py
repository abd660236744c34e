"""The command line. Each command imports what it needs when it runs."""

import typer

app = typer.Typer(no_args_is_help=True, help=__doc__)


@app.callback()
def _root() -> None:
    """turngym: text environments and multi-turn RL."""


@app.command()
def envs() -> None:
    """List the registered environments."""
    from turngym.envs.registry import ids, load_plugins

    load_plugins()
    for name in ids():
        print(name)
