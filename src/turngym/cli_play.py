"""`turngym play`: a person in the agent's seat."""

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from turngym import bridge
from turngym.agents.load import load_agent
from turngym.cli_envs import SETTINGS, make_env
from turngym.envs.canonical import digest
from turngym.envs.env import TextEnv
from turngym.errors import DataError
from turngym.seeding import derive
from turngym.serial import TrajectoryWriter
from turngym.trainers.tape import Tape, env_id
from turngym.types import (
    Completion,
    Context,
    EpisodeStatus,
    Message,
    ToolCall,
    Trajectory,
    assistant,
)

__all__ = ["parse_line", "play"]

HELP = "/quit ends, /hint shows what is possible; anything else is your reply"
TOOL_HELP = f"/call NAME {{json}} calls a tool, /tools lists them, {HELP}"
MAX_HINTS = 40


def play(
    env: str = typer.Argument(help="Id from `turngym envs`, or module:Name-v0 of a file here."),
    settings: list[str] = SETTINGS,
    seed: int = typer.Option(0, min=0, help="Seed of the episode."),
    task: str = typer.Option(None, help="Id of the task; without it the seed chooses."),
    agent: str = typer.Option(
        None, help="Watch an agent play: as `turngym rollout --agent`, without expert."
    ),
    record: Annotated[
        Path | None,
        typer.Option(help="Append the finished episode to this .jsonl file, as a demonstration."),
    ] = None,
) -> None:
    """Play an episode yourself: type what the agent would say.

    Replies can come from a file too: one line is one turn. A recorded episode can be looked at
    (`turngym report FILE`) and imitated (`turngym sft RECIPE --from FILE`).

    Examples:

        turngym play turngym/WebShop-v0 --seed 3 --record mine.jsonl

        turngym play turngym/WebShop-v0 < replies.txt

        turngym play turngym/WebShop-v0 --agent tiny:web_shop
    """
    game = make_env(env, settings)
    player: _Player = _Person() if agent is None else _Watched(agent, seed)
    tape = Tape()
    try:
        trajectory = _episode(game, player, tape, seed, task)
    except (EOFError, KeyboardInterrupt):
        unsaved = ", nothing recorded" if record is not None else ""
        typer.echo(f"\nstopped after {game.turn} turns{unsaved}")
        return
    finally:
        game.close()
    if record is not None:
        with TrajectoryWriter(record) as writer:
            writer.write(trajectory)
        typer.echo(f"recorded in {record}")


class _Player(Protocol):
    """Who replies."""

    def reply(self, env: TextEnv, context: Context) -> Completion:
        """The next reply; EOFError ends the game."""
        ...


class _Person:
    def reply(self, env: TextEnv, context: Context) -> Completion:
        if not context.turns:
            typer.secho(TOOL_HELP if env.tools else HELP, dim=True)
            typer.secho(_hints(env), dim=True)
        began = time.perf_counter()
        message = _read(env, context)
        return Completion(message=message, seconds=time.perf_counter() - began)


class _Watched:
    """An agent whose replies are shown."""

    def __init__(self, spec: str, seed: int) -> None:
        self._agent, self._seed = load_agent(spec), seed

    def reply(self, env: TextEnv, context: Context) -> Completion:
        seed = derive(self._seed, len(context.turns))
        completion = bridge.call(self._agent, context, seed=seed)
        typer.echo("> " + "\n".join(_typed(completion.message)))
        return completion


def _episode(env: TextEnv, player: _Player, tape: Tape, seed: int, task: str | None) -> Trajectory:
    """Play to the end, and give what was written down."""
    began = time.perf_counter()
    new, info = env.reset(seed=seed, options=None if task is None else {"task_id": task})
    task_id, fingerprint = str(info.get("task_id", task or "")), env.fingerprint()
    _show(new)
    while True:
        anchor = str(info.get("anchor") or digest(new))
        context = Context(episode="play", tools=tuple(env.tools), turns=tape.turns, new=new)
        completion = player.reply(env, context)
        seen = new
        new, reward, terminated, truncated, info = env.step(completion.message)
        tape.add(seen, completion, anchor, reward, info)
        _show(new)
        _show_reward(env.turn, reward, info)
        if terminated or truncated:
            break
        tape.hear(new, info)
    tape.closing = new
    why = "finished" if terminated else "out of turns"
    typer.echo(f"{why} after {env.turn} turns, outcome {tape.outcome:g}")
    return tape.end(
        EpisodeStatus.TERMINATED if terminated else EpisodeStatus.TRUNCATED,
        success_at=env.success_at,
        env_id=env_id(env),
        task_id=task_id,
        episode=f"play/{seed}/{task_id}",
        seed=seed,
        group=f"play/{seed}/{task_id}",
        tools=tuple(env.tools),
        privileged=env.privileged,
        fingerprint=fingerprint,
        seconds=time.perf_counter() - began,
    )


def _read(env: TextEnv, context: Context) -> Message:
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
        elif line == "/hint":
            typer.echo("\n".join(filter(None, [_hints(env), _advice(env, context)])))
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


def _typed(message: Message) -> list[str]:
    """The lines that a person would have typed to say `message`."""
    calls = [f"/call {call.name} {json.dumps(dict(call.arguments))}" for call in message.tool_calls]
    return [line for line in (message.content, *calls) if line]


def _hints(env: TextEnv) -> str:
    """What can be done now, as it would be typed."""
    actions = [*env.legal_actions, *(_example(_function(tool)) for tool in env.tools)]
    if not actions:
        return "any words will do"
    more = f"  ... {len(actions)} in all" if len(actions) > MAX_HINTS else ""
    return f"possible: {'  '.join(actions[:MAX_HINTS])}{more}"


def _example(function: Mapping[str, Any]) -> str:
    """A call with a placeholder for each argument that is required."""
    parameters = function.get("parameters") or {}
    known = parameters.get("properties") or {}
    given = {
        name: (known.get(name, {}).get("enum") or [known.get(name, {}).get("type", "...")])[0]
        for name in parameters.get("required") or ()
    }
    return f"/call {function['name']} {json.dumps(given)}" if given else f"/call {function['name']}"


def _advice(env: TextEnv, context: Context) -> str:
    """What the scripted expert would say, where there is one."""
    if not env.has_expert:
        return ""
    reply = env.expert(context.messages)
    lines = [reply] if isinstance(reply, str) else _typed(reply)
    return f"the expert would say: {' '.join(lines)}"


def _list_tools(tools: Iterable[Mapping[str, Any]]) -> str:
    functions = [_function(item) for item in tools]
    lines = [f"{item['name']}: {item.get('description', '')}".rstrip(": ") for item in functions]
    return "\n".join(lines) or "this environment has no tools"


def _function(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = tool.get("function", tool)
    return found


def _show(messages: Sequence[Message]) -> None:
    for message in messages:
        typer.secho(f"{message.role}: ", bold=True, nl=False)
        typer.echo(message.content)


def _show_reward(turn: int, reward: float, info: Mapping[str, Any]) -> None:
    """The reward of a turn and what it is made of."""
    status = f", {info['status']}" if info.get("status", "ok") != "ok" else ""
    parts = {"turn reward": info.get("turn_reward"), **info.get("rewards", {})}
    named = "".join(f", {name} {value:g}" for name, value in parts.items() if value is not None)
    typer.secho(f"[turn {turn}: reward {reward:g}{status}{named}]", dim=True)
    if info.get("feedback"):
        typer.secho(str(info["feedback"]), dim=True)
