"""An environment's tools over MCP, played by the official SDK's client."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import turngym
from turngym import TextEnv
from turngym.types import Message, ToolCall, user


class Count(TextEnv):
    """Three right numbers end it."""

    def reset(self, *, seed=None, options=None):
        self.number, self.right = int(self.np_random.integers(0, 1000)), 0
        return (user(f"The first number is {self.number}."),), {}

    def step(self, action):
        if action.content != str(self.number + 1):
            return (user("No."),), 0.0, False, False, {"status": "invalid_action"}
        self.number, self.right = self.number + 1, self.right + 1
        done = self.right == 3
        return (user("Yes."),), float(done), done, False, {"outcome": 1.0} if done else {}


MCP_SCRIPT = """
import asyncio
from turngym.envs.serve.mcp_server import mcp_server, serve_stdio
import turngym
asyncio.run(serve_stdio(mcp_server(lambda: turngym.make("turngym/ToolUse-v0"), "tools")))
"""


async def _with_server(work: Any) -> Any:
    from mcp import Client, StdioServerParameters, stdio_client

    server = StdioServerParameters(
        command=sys.executable, args=["-c", MCP_SCRIPT], env=dict(os.environ)
    )
    async with Client(stdio_client(server)) as session:
        return await work(session)


def test_an_mcp_client_gets_the_tools_and_plays():
    env = turngym.make("turngym/ToolUse-v0")
    new, _ = env.reset(seed=11)

    async def work(session):
        begun = await session.call_tool("reset", {"seed": 11})
        listed = (await session.list_tools()).tools  # those of this episode's world
        unknown = await session.call_tool(listed[2].name, {"no_such_argument": 1})
        said = await session.call_tool("say", {"content": "One moment, please."})
        return listed, begun, said, unknown

    listed, begun, said, unknown = asyncio.run(_with_server(work))
    names = [tool.name for tool in listed]
    assert names[:2] == ["reset", "say"]
    assert names[2:] == [tool["function"]["name"] for tool in env.tools]
    assert begun.content[0].text == "\n".join(message.content for message in new)
    assert begun.structured_content == {"done": False}
    call = ToolCall(id="call_0", name=names[2], arguments={"no_such_argument": 1})
    refused, *_ = env.step(Message(role="assistant", tool_calls=(call,)))
    assert unknown.content[0].text == "\n".join(message.content for message in refused)
    answer, *_ = env.step("One moment, please.")
    assert said.content[0].text == "\n".join(message.content for message in answer)


def test_an_mcp_call_outside_an_episode_is_a_result_not_a_crash():
    from turngym.envs.serve.mcp_server import Desk

    desk = Desk(Count())
    assert desk.call("say", {"content": "1"}).is_error
    desk.call("reset", {"seed": 0})
    first = desk.env.number
    for step in (1, 2, 3):
        last = desk.call("say", {"content": str(first + step)})
    assert last.structured_content == {"done": True, "truncated": False, "outcome": 1.0}
    assert desk.call("say", {"content": "1"}).is_error
