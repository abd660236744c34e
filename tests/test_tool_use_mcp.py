"""Tools of MCP servers: real servers over stdio and HTTP, good ones and broken ones."""

import contextlib
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

pytest.importorskip("mcp")

from turngym.agents.scripted import ScriptedAgent
from turngym.envs.tool_use.env import ToolUse
from turngym.envs.tool_use.mcp_tools import McpCommand, McpServer
from turngym.envs.tool_use.tools import ToolBox
from turngym.errors import ConfigError, DataError, InfraFailure, InfraTimeout
from turngym.trainers.rollout import Group, RolloutConfig, rollout
from turngym.types import EpisodeStatus, ToolCall, assistant

NOTEBOOK = """
    import os, sys, time
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp.types import ToolAnnotations

    server = MCPServer("notebook")
    notes = []
    READS = ToolAnnotations(read_only_hint=True)

    @server.tool()
    def write(text: str) -> int:
        "Write a note; gives how many there are."
        notes.append(text)
        return len(notes)

    @server.tool(annotations=READS)
    def read() -> list[str]:
        "All notes."
        return notes

    @server.tool()
    def tear(page: int) -> str:
        "Tear a page out."
        raise ToolError(f"page {page} does not exist")

    @server.tool()
    def die() -> str:
        "Die in the middle of a call."
        os._exit(3)

    @server.tool()
    def hang() -> str:
        "Never answer."
        time.sleep(600)

    @server.tool(annotations=READS)
    def pid() -> int:
        "Process id."
        return os.getpid()
"""
BROKEN = """
    import json, sys

    for line in sys.stdin:
        asked = json.loads(line)
        if "id" not in asked:
            continue
        if asked["method"] == "initialize":
            result = {
                "protocolVersion": asked["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "broken", "version": "1"},
            }
        elif asked["method"] == "tools/list":
            schema = {"type": "object", "properties": {"n": {"type": "whole number"}}}
            result = {"tools": [{"name": "count", "inputSchema": schema}]}
        else:
            error = {"code": -32601, "message": "no such method"}
            print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": error}), flush=True)
            continue
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""


def call(name, **arguments):
    return ToolCall(id="1", name=name, arguments=arguments)


def script(folder, text, ending="\nserver.run()\n"):
    path = folder / "server.py"
    path.write_text(textwrap.dedent(text) + ending)
    return McpCommand(command=sys.executable, args=(str(path),))


def gone(pid):
    """Whether a process has ended within five seconds."""
    for _ in range(100):
        state = Path(f"/proc/{pid}/stat")
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if state.read_text().rpartition(")")[2].split()[0] != "Z":
                time.sleep(0.05)
                continue
        return True
    return False


@pytest.fixture
def notebook(tmp_path):
    with McpServer(script(tmp_path, NOTEBOOK), timeout_s=60) as server:
        yield server


def test_tools_are_offered_validated_and_called(notebook):
    box = ToolBox(notebook.tools)
    assert {each["function"]["name"] for each in box.schemas} >= {"write", "read", "tear"}
    state, result = box.call({}, call("write", text="milk"))
    assert result.ok
    assert "1" in result.content
    _, read = box.call(state, call("read"))
    assert "milk" in read.content
    _, wrong = box.call(state, call("write", text=5))
    assert (wrong.code, wrong.details[0][:5]) == ("invalid_arguments", "text:")
    _, unknown = box.call(state, call("wite", text="x"))
    assert (unknown.code, "Did you mean 'write'?" in unknown.message) == ("unknown_tool", True)
    after, refused = box.call(state, call("tear", page=9))
    assert (refused.code, "page 9 does not exist" in refused.message) == ("refused", True)
    assert after == state


def test_two_futures_of_one_state_do_not_see_each_other(notebook):
    """A session shared by both would hold the other's note: the bug of live connections in a fork."""
    box = ToolBox(notebook.tools)
    start, _ = box.call({}, call("write", text="both"))
    one, _ = box.call(start, call("write", text="one"))
    two, _ = box.call(start, call("write", text="two"))
    assert "two" not in box.call(one, call("read"))[1].content
    assert "one" not in box.call(two, call("read"))[1].content
    assert "both" in box.call(two, call("read"))[1].content
    assert "both" not in box.call({}, call("read"))[1].content


def test_a_server_that_dies_in_a_call_is_not_the_agents_fault_and_the_next_call_works(notebook):
    box = ToolBox(notebook.tools)
    state, _ = box.call({}, call("write", text="kept"))
    with pytest.raises(InfraFailure, match="did not answer die"):
        box.call(state, call("die"))
    assert "kept" in box.call(state, call("read"))[1].content


def test_a_call_that_hangs_is_given_up_and_its_process_ended(notebook):
    box = ToolBox(notebook.tools)
    _, result = box.call({}, call("pid"))
    pid = next(int(word) for word in result.content.replace("}", ":").split(":") if word.isdigit())
    notebook.timeout_s = 1.0
    start = time.monotonic()
    with pytest.raises(InfraTimeout, match="did not answer hang in 1 s"):
        box.call({}, call("hang"))
    assert time.monotonic() - start < 15
    assert gone(pid)


def test_an_episode_whose_server_dies_keeps_its_turns_and_is_not_held_against_the_agent(notebook):
    replies = [
        assistant("", [call("write", text="x" * 10_000_000)]),
        assistant("", [call("write", text="milk")]),
        assistant("", [call("die")]),
    ]
    agent = ScriptedAgent(lambda context: replies[len(context.turns)])
    group = Group(key="g", seed=0, task_id="library/lend/0")
    (episode,) = rollout(lambda: ToolUse(mcp=(notebook,)), agent, [group], RolloutConfig())
    assert episode.status == EpisodeStatus.INFRA_ERROR
    assert not episode.status.counts
    assert [turn.status for turn in episode.turns][:2] == ["invalid_action", "ok"]
    assert "did not answer die" in str(episode.error)


def test_a_tool_that_two_sides_offer_is_refused(notebook):
    env = ToolUse(mcp=(notebook, notebook))
    with pytest.raises(ConfigError, match="several tools are called"):
        env.reset(options={"task_id": "library/lend/0"})


@pytest.mark.slow
def test_closing_ends_every_process(tmp_path):
    server = McpServer(script(tmp_path, NOTEBOOK), timeout_s=60, max_sessions=2)
    box = ToolBox(server.tools)
    states = [box.call({}, call("write", text=str(n)))[0] for n in range(3)]
    found = [box.call(state, call("pid"))[1].content for state in states]
    pids = {int("".join(filter(str.isdigit, text))) for text in found}
    assert len(pids) == 3
    server.close()
    assert all(gone(pid) for pid in pids)


def test_a_broken_schema_is_named_when_the_tools_are_listed(tmp_path):
    with McpServer(script(tmp_path, BROKEN, ending=""), timeout_s=60) as server:
        with pytest.raises(DataError, match=r"tool 'count' has a broken schema.*whole number"):
            server.tools  # noqa: B018


@pytest.mark.parametrize(
    ("command", "failure", "timeout_s"),
    [
        (McpCommand(command=sys.executable, args=("-c", "pass")), InfraFailure, 60),
        (McpCommand(command="/no/such/program"), InfraFailure, 60),
        (
            McpCommand(command=sys.executable, args=("-c", "import time; time.sleep(60)")),
            InfraTimeout,
            2,
        ),
    ],
)
def test_what_is_no_server_fails_clearly(command, failure, timeout_s):
    server = McpServer(command, timeout_s=timeout_s)
    with server, pytest.raises(failure, match="did not start"):
        server.tools  # noqa: B018


def test_limits_are_checked():
    with pytest.raises(ConfigError, match="max_sessions"):
        McpServer("http://127.0.0.1:1/mcp", max_sessions=0)


@pytest.fixture
def over_http(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = script(
        tmp_path, NOTEBOOK, f"\nserver.run('streamable-http', host='127.0.0.1', port={port})\n"
    ).args[0]
    process = subprocess.Popen(
        [sys.executable, path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.1):
            break
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}/mcp", process
    process.kill()
    process.wait()


def test_streamable_http(over_http):
    url, process = over_http
    with McpServer(url, timeout_s=60) as server:
        box = ToolBox(server.tools)
        assert "1" in box.call({}, call("write", text="milk"))[1].content
        assert "milk" in box.call({}, call("read"))[1].content  # one memory for all, as it says
        with pytest.raises((InfraFailure, InfraTimeout)):
            box.call({}, call("die"))
        process.wait(5)
        with pytest.raises(InfraFailure):
            box.call({}, call("read"))


def test_nothing_listens_there():
    with McpServer("http://127.0.0.1:9/mcp", timeout_s=5) as server:
        with pytest.raises(InfraFailure, match="did not"):
            server.tools  # noqa: B018
