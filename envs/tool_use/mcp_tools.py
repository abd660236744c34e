"""Tools of an MCP server (Model Context Protocol; the official SDK, extra `mcp`).

    server = McpServer(McpCommand(command="python", args=("server.py",)))
    env = ToolUse(mcp=(server,))

What such a server remembers cannot be copied, so a call is replayed instead: the state of the world keeps
the calls that were made, and whoever goes on from a state gets a session with exactly these behind it,
a live one or a new one that repeats them. Forks and snapshots therefore work as they do elsewhere.
"""

from __future__ import annotations

import atexit
import functools
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from turngym.bridge import run
from turngym.envs.tool_use.mcp_session import Answer, Listed, Session
from turngym.envs.tool_use.schema_tools import schema_tool
from turngym.envs.tool_use.tools import RefusedError, State, Tool, ToolBox
from turngym.errors import ConfigError, EnvironmentFailure, MissingExtraError

__all__ = ["McpCommand", "McpServer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class McpCommand:
    """A server that is started as a process and spoken to over its standard input and output."""

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] | None = field(default=None, repr=False)
    """None: a few safe variables of ours."""
    cwd: str | None = None


class McpServer:
    """The tools of one MCP server, over stdio or streamable HTTP.

    Args:
        target: a command, or the URL of an endpoint such as `http://127.0.0.1:8000/mcp`.
        timeout_s: for a call, and for a start.
        stateful: the server remembers calls, so that each episode and fork gets a session of its own.
            None: a command does, a URL does not.
        max_sessions: how many stay open; those of finished episodes are closed first.

    A server that dies, hangs or breaks the protocol raises `InfraFailure` or `InfraTimeout` and the
    next call gets a new session; an error that a tool reports is a result for the agent.

    Raises:
        ConfigError: a limit below its least value.
    """

    def __init__(
        self,
        target: str | McpCommand,
        *,
        timeout_s: float = 30.0,
        stateful: bool | None = None,
        max_sessions: int = 16,
    ) -> None:
        if timeout_s <= 0 or max_sessions < 1:
            raise ConfigError(
                "timeout_s must be above 0 and max_sessions at least 1, "
                f"got {timeout_s} and {max_sessions}"
            )
        self.target = target
        self.timeout_s = timeout_s
        self.stateful = isinstance(target, McpCommand) if stateful is None else stateful
        self.max_sessions = max_sessions
        self._idle: list[Session] = []
        self._tools: tuple[Tool, ...] | None = None
        self._lock = threading.Lock()

    @property
    def label(self) -> str:
        """The server's name in messages and in the state."""
        return self.target if isinstance(self.target, str) else self.target.command

    @property
    def tools(self) -> tuple[Tool, ...]:
        """Its tools, asked for once.

        Raises:
            DataError: a schema is broken.
            InfraFailure: the server cannot be started or reached.
            InfraTimeout: it does not answer.
        """
        with self._lock:
            if self._tools is None:
                session = self._open()
                listed = run(session.list_tools(), self.timeout_s + 5)
                self._idle.append(session)
                self._tools = tuple(map(self._tool, listed))
            return self._tools

    @property
    def toolbox(self) -> ToolBox:
        """Its tools as a ToolBox; errors are those of `tools`."""
        return ToolBox(self.tools)

    def close(self) -> None:
        """End every session and its process; a later call starts a new one."""
        with self._lock:
            sessions, self._idle = self._idle, []
        for session in sessions:
            run(session.close())
        atexit.unregister(self.close)

    def __enter__(self) -> McpServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> McpServer:
        return self  # a connection is shared, what it did is in the state

    def __reduce__(self) -> Any:
        settings = (self.target, self.timeout_s, self.stateful, self.max_sessions)
        return _server, settings  # another process opens sessions of its own

    def _tool(self, listed: Listed) -> Tool:
        remembers = self.stateful and not listed.reads_only
        return schema_tool(
            listed.name,
            listed.schema,
            functools.partial(self._call, listed.name, remembers),
            description=listed.description,
            writes=remembers,
            strict=False,
        )

    def _call(self, name: str, remembers: bool, state: State, /, **arguments: Any) -> Any:
        made = state.get("_mcp", {}).get(self.label, [])
        answer = self._ask(made, name, arguments, remembers)
        if answer.failed:
            raise RefusedError(answer.text[:1000] or "the tool reports an error")
        if remembers:
            logs = state.setdefault("_mcp", {})
            logs[self.label] = [*made, [name, arguments, answer.text]]
        return answer.value

    def _ask(
        self, made: list[list[Any]], name: str, arguments: Mapping[str, Any], remembers: bool
    ) -> Answer:
        """The answer in a session that has `made` behind it; what a tool refuses leaves no trace."""
        session = self._session(made)
        try:
            answer: Answer = run(session.call(name, arguments, self.timeout_s))
        except BaseException:
            run(session.close())
            raise
        if remembers and not answer.failed:
            session.history = _key([*made, [name, arguments, answer.text]])
        self._keep(session)
        return answer

    def _session(self, made: list[list[Any]]) -> Session:
        wanted = _key(made)
        with self._lock:
            for place, session in enumerate(self._idle):
                if session.history == wanted and session.alive:
                    return self._idle.pop(place)
        session = self._open()
        for name, arguments, text in made:
            answer: Answer = run(session.call(name, arguments, self.timeout_s))
            if answer.text != text:
                run(session.close())
                raise EnvironmentFailure(
                    f"MCP server {self.label!r} answers {name} otherwise when it is repeated, so its "
                    f"state cannot be restored: {answer.text!r:.100}, before {text!r:.100}"
                )
        session.history = wanted
        return session

    def _open(self) -> Session:
        atexit.unregister(self.close)
        atexit.register(self.close)
        session = Session(_for_sdk(self.target), self.label)
        run(session.open(self.timeout_s))
        return session

    def _keep(self, session: Session) -> None:
        with self._lock:
            self._idle.append(session)
            surplus = self._idle[: -self.max_sessions]
            self._idle = self._idle[-self.max_sessions :]
        for each in surplus:
            run(each.close())


def _server(
    target: str | McpCommand, timeout_s: float, stateful: bool, max_sessions: int
) -> McpServer:
    return McpServer(target, timeout_s=timeout_s, stateful=stateful, max_sessions=max_sessions)


def _for_sdk(target: str | McpCommand) -> Any:
    """What the SDK's client takes."""
    if isinstance(target, str):
        return target
    try:
        from mcp import StdioServerParameters
    except ImportError as error:
        raise MissingExtraError("mcp", "mcp") from error
    return StdioServerParameters(
        command=target.command,
        args=list(target.args),
        env=None if target.env is None else dict(target.env),
        cwd=target.cwd,
    )


def _key(made: list[list[Any]]) -> str:
    return json.dumps(made, sort_keys=True)
