"""The tools of an environment as an MCP server, for any MCP client to play.

    turngym serve turngym/ToolUse-v0 --protocol mcp        # over stdio

Beside the environment's tools there are two: `reset` begins an episode, `say` speaks without calling
a tool. Every result holds the new messages; the last one of an episode also its outcome.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from mcp import types
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.stdio import stdio_server

from turngym.envs.env import TextEnv
from turngym.errors import ConfigError, TurnGymError
from turngym.types import Message, ToolCall
from turngym.version import __version__

__all__ = ["Desk", "mcp_server", "serve_stdio"]

RESET = types.Tool(
    name="reset",
    description="Begin a new episode. The same seed gives the same episode.",
    input_schema={
        "type": "object",
        "properties": {
            "seed": {"type": "integer", "minimum": 0},
            "task_id": {"type": "string", "description": "A task of the split; default: drawn."},
            "split": {"type": "string", "enum": ["train", "dev", "test"]},
        },
        "additionalProperties": False,
    },
)
SAY = types.Tool(
    name="say",
    description="Say something to the environment, such as an answer to its user.",
    input_schema={
        "type": "object",
        "properties": {"content": {"type": "string"}},
        "required": ["content"],
        "additionalProperties": False,
    },
)


class Desk:
    """One environment, played call by call."""

    def __init__(self, env: TextEnv) -> None:
        self.env = env

    def listed(self) -> list[types.Tool]:
        """Ours and the environment's.

        Raises:
            ConfigError: a tool of the environment has a name that is taken.
        """
        found = [RESET, SAY]
        for tool in self.env.tools:
            described: Mapping[str, Any] = tool.get("function", tool)
            if described["name"] in (RESET.name, SAY.name):
                raise ConfigError(
                    f"the environment has a tool called {described['name']!r}, which this server "
                    "needs for itself"
                )
            schema = described.get("parameters") or {"type": "object", "properties": {}}
            found.append(
                types.Tool(
                    name=described["name"],
                    description=described.get("description", ""),
                    input_schema=json.loads(json.dumps(schema)),
                )
            )
        return found

    def call(self, name: str, arguments: Mapping[str, Any]) -> types.CallToolResult:
        """What came of a call; mistakes are results, too."""
        try:
            if name == RESET.name:
                chosen = {k: arguments[k] for k in ("task_id", "split") if k in arguments}
                messages, _ = self.env.reset(seed=arguments.get("seed"), options=chosen)
                return _result(messages, {"done": False})
            if not self.env.in_episode:
                return _refusal("no episode is open: call reset first")
            messages, reward, terminated, truncated, info = self.env.step(_reply(name, arguments))
        except TurnGymError as error:
            return _refusal(str(error))
        told: dict[str, Any] = {"done": terminated or truncated}
        if told["done"]:
            told |= {"truncated": truncated, "outcome": info.get("outcome", reward)}
        return _result(messages, told)


def mcp_server(make_env: Callable[[], TextEnv], name: str) -> Server[Any]:
    """A server of the official SDK, over whichever transport it is run with; one episode at a time.

    Args:
        make_env: makes the environment; it is reset once, so that tools can be listed at once.
        name: shown to clients.
    """
    env = make_env()
    env.reset(seed=0)
    desk = Desk(env)

    async def on_list(*_: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=desk.listed())

    async def on_call(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        before = [tool.name for tool in desk.listed()]
        if params.name not in before:
            return _refusal(f"no tool {params.name!r}; there are {', '.join(before)}")
        # In a thread: a step may take its time, and the connection must stay alive meanwhile.
        result = await asyncio.to_thread(desk.call, params.name, params.arguments or {})
        if [tool.name for tool in desk.listed()] != before:  # another task, another world
            await context.session.send_tool_list_changed()
        return result

    return Server(name, version=__version__, on_list_tools=on_list, on_call_tool=on_call)


async def serve_stdio(server: Server[Any]) -> None:
    """Serve until the client hangs up."""
    options = server.create_initialization_options(NotificationOptions(tools_changed=True))
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, options)


def _reply(name: str, arguments: Mapping[str, Any]) -> Message:
    if name == SAY.name:
        return Message(role="assistant", content=str(arguments.get("content", "")))
    call = ToolCall(id="call_0", name=name, arguments=dict(arguments))
    return Message(role="assistant", tool_calls=(call,))


def _result(messages: tuple[Message, ...], told: Mapping[str, Any]) -> types.CallToolResult:
    words = "\n".join(message.content for message in messages)
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=words)], structured_content=dict(told)
    )


def _refusal(words: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=words)], is_error=True)
