"""`turngym new env`."""

import typer

__all__ = ["app", "env"]

app = typer.Typer(no_args_is_help=True, help="Write the start of something of your own.")


@app.callback()
def _root() -> None:
    pass  # keeps `env` a sub-command while it is the only one


@app.command()
def env(
    name: str = typer.Argument(help="Name in snake_case, such as number_guess."),
    folder: str = typer.Option(".", help="Where the two files go."),
) -> None:
    """Write a working environment and its test.

    Example:

        turngym new env number_guess

        turngym check number_guess_env:NumberGuess-v0
    """
    from turngym.envs.scaffold import write_env

    made = write_env(name, folder)
    typer.echo(f"wrote {made.env} and {made.test}")
    typer.echo(f"next:  turngym play {made.module}:{made.id}")
    typer.echo(f"       pytest {made.test}")
