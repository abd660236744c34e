"""`turngym play`: a person in the agent's seat."""

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import typer

from turngym import bridge
from turngym.agents.load import load_agent
from turngym.cli_envs import SETTINGS, make_env
from turngym.envs.env import TextEnv
from turngym.errors import DataError
from turngym.seeding import derive
from turngym.types import Context, Message, ToolCall, Turn, assistant

__all__ = ["parse_line", "play"]

HELP = "/quit ends; anything else is your reply"
TOOL_HELP = f"/call NAME {{json}} calls a tool, /tools lists them, {HELP}"


def play(
    env: str = typer.Argument(help="Id from `turngym envs`, or module:Name-v0 of a file here."),
    settings: list[str] = SETTINGS,
    seed: int = typer.Option(0, min=0, help="Seed of the episode."),
    task: str = typer.Option(None, help="Id of the task; without it the seed chooses."),
    agent: str = typer.Option(
        None, help="Watch an agent play: as `turngym rollout --agent`, without expert."
    ),
) -> None:
    """Play an episode yourself: type what the agent would say.

    Replies can come from a file too: one line is one turn.

    Examples:

        turngym play turngym/WebShop-v0 --seed 3

        turngym play turngym/WebShop-v0 < replies.txt

        turngym play turngym/WebShop-v0 --agent tiny:web_shop
    """
    game = make_env(env, settings)
    player: _Player = _Person() if agent is None else _Watched(agent, seed)
    try:
        _episode(game, player, seed, None if task is None else {"task_id": task})
    except (EOFError, KeyboardInterrupt):
        typer.echo(f"\nstopped after {game.turn} turns")
    finally:
        game.close()


class _Player(Protocol):
    """Who replies."""

    def reply(self, env: TextEnv, new: tuple[Message, ...]) -> Message:
        """The next reply; EOFError ends the game."""
        ...


class _Person:
    def __init__(self) -> None:
        self._told = False

    def reply(self, env: TextEnv, new: tuple[Message, ...]) -> Message:
        if not self._told:
            typer.secho(TOOL_HELP if env.tools else HELP, dim=True)
        self._told = True
        return _read(env)


class _Watched:
    """An agent whose replies are shown."""

    def __init__(self, spec: str, seed: int) -> None:
        self._agent, self._seed = load_agent(spec), seed
        self._turns: tuple[Turn, ...] = ()

    def reply(self, env: TextEnv, new: tuple[Message, ...]) -> Message:
        context = Context(episode="play", tools=tuple(env.tools), turns=self._turns, new=new)
        seed = derive(self._seed, len(self._turns))
        completion = bridge.call(self._agent, context, seed=seed)
        self._turns += (Turn(seen=new, completion=completion),)
        message = completion.message
        calls = [
            f"/call {call.name} {json.dumps(dict(call.arguments))}" for call in message.tool_calls
        ]
        typer.echo("> " + "\n".join(filter(None, [message.content, *calls])))
        return message


def _episode(env: TextEnv, player: _Player, seed: int, options: dict[str, Any] | None) -> None:
    messages, _ = env.reset(seed=seed, options=options)
    _show(messages)
    total = 0.0
    while True:
        reply = player.reply(env, tuple(messages))
        messages, reward, terminated, truncated, info = env.step(reply)
        total += reward
        _show(messages)
        status = f", {info['status']}" if info.get("status", "ok") != "ok" else ""
        typer.secho(f"[turn {env.turn}: reward {reward:g}{status}]", dim=True)
        if terminated or truncated:
            break
    outcome = info.get("outcome", total)
    why = "finished" if terminated else "out of turns"
    typer.echo(f"{why} after {env.turn} turns, outcome {outcome:g}")


def _read(env: TextEnv) -> Message:
    """The next reply; asks again after a slip, and raises EOFError at the end."""
    while True:
        line = input("> ").strip()
        if not sys.stdin.isatty():
            typer.echo(line)  # a terminal has shown it already
        if line == "/quit":
            raise EOFError
        if line == "/help":
            typer.echo(TOOL_HELP)
        elif line == "/tools":
            typer.echo(_list_tools(env.tools))
        else:
            try:
                return parse_line(line)
            except DataError as error:
                typer.secho(str(error), fg=typer.colors.RED, err=True)


def parse_line(line: str) -> Message:
    """The assistant message that a typed line means.

    Raises:
        DataError: `/call` without a name, or with arguments that are no JSON object.
    """
    if not line.startswith("/call"):
        return assistant(line)
    name, _, raw = line.removeprefix("/call").strip().partition(" ")
    try:
        arguments = json.loads(raw or "{}")
    except json.JSONDecodeError as error:
        raise DataError(f"the arguments are not JSON ({error}): {raw!r}") from error
    if not name or not isinstance(arguments, dict):
        raise DataError(f'a tool call looks like /call search {{"query": "shoes"}}, got {line!r}')
    return assistant("", [ToolCall(id="call", name=name, arguments=arguments)])


def _list_tools(tools: Iterable[Mapping[str, Any]]) -> str:
    functions = [item.get("function", item) for item in tools]
    lines = [f"{item['name']}: {item.get('description', '')}".rstrip(": ") for item in functions]
    return "\n".join(lines) or "this environment has no tools"


def _show(messages: Iterable[Message]) -> None:
    for message in messages:
        typer.secho(f"{message.role}: ", bold=True, nl=False)
        typer.echo(message.content)
