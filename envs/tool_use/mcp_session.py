"""One session with an MCP server, owned by a task on the bridge's loop.

The SDK's connections must be left by the task that entered them, so one task holds the connection and
takes jobs from a queue.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from turngym.errors import InfraFailure, InfraTimeout, MissingExtraError

__all__ = ["Answer", "Listed", "Session"]

_GRACE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A tool as a server describes it."""

    name: str
    description: str
    schema: Mapping[str, Any]
    reads_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a call came to."""

    value: Any
    """JSON data: the structured content where there is some, else the text."""
    text: str
    failed: bool


@dataclass(slots=True, kw_only=True)
class _Job:
    work: Callable[[Any], Awaitable[Any]]
    done: asyncio.Future[Any] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Session:
    """A connection; every method is awaited on one loop."""

    def __init__(self, target: Any, label: str) -> None:
        self._target = target
        self._label = label
        self._jobs: asyncio.Queue[_Job | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self.history = "[]"
        """Key of the calls that this session has behind it."""

    @property
    def alive(self) -> bool:
        """Whether calls can be made."""
        return self._task is not None and not self._task.done()

    async def open(self, timeout_s: float) -> None:
        """Start or reach the server.

        Raises:
            InfraFailure: it does not start, or is no MCP server.
            InfraTimeout: no greeting in time.
            MissingExtraError: the SDK is not installed.
        """
        try:
            from mcp import Client
        except ImportError as error:
            raise MissingExtraError("mcp", "mcp") from error
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._own(Client(self._target), ready))
        await self._wait(ready, timeout_s, "start")

    async def list_tools(self) -> tuple[Listed, ...]:
        """Every page of the server's tools; errors are those of `call`."""

        async def work(client: Any) -> tuple[Listed, ...]:
            found: list[Any] = []
            cursor: str | None = None
            while True:
                page = await client.list_tools(cursor=cursor)
                found += page.tools
                cursor = page.next_cursor
                if not cursor:
                    return tuple(map(_listed, found))

        tools: tuple[Listed, ...] = await self._do(work, _GRACE_S, "list its tools")
        return tools

    async def call(self, name: str, arguments: Mapping[str, Any], timeout_s: float) -> Answer:
        """The server's answer to one call.

        Raises:
            InfraFailure: the server died or broke the protocol.
            InfraTimeout: no answer in time; the session is of no further use.
        """

        async def work(client: Any) -> Answer:
            return _answer(await client.call_tool(name, dict(arguments)))

        answer: Answer = await self._do(work, timeout_s, f"answer {name}")
        return answer

    async def close(self) -> None:
        """Leave; the server's process is ended."""
        if self._task is None or self._task.done():
            return
        self._jobs.put_nowait(None)
        done, _ = await asyncio.wait({self._task}, timeout=_GRACE_S)
        if not done:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_GRACE_S)

    async def _do(self, work: Callable[[Any], Awaitable[Any]], timeout_s: float, what: str) -> Any:
        if not self.alive:
            raise InfraFailure(f"MCP server {self._label!r} is gone")
        job = _Job(work=work)
        self._jobs.put_nowait(job)
        return await self._wait(job.done, timeout_s, what)

    async def _wait(self, future: asyncio.Future[Any], timeout_s: float, what: str) -> Any:
        """What the owner puts into `future`; the owner is cancelled when time is up."""
        assert self._task is not None
        await asyncio.wait({future, self._task}, timeout=timeout_s, return_when="FIRST_COMPLETED")
        if future.done():
            try:
                return future.result()
            except Exception as error:
                text = f"{type(error).__name__}: {error}"
                raise InfraFailure(
                    f"MCP server {self._label!r} did not {what}: {text:.300}"
                ) from error
        future.cancel()
        if self._task.done():
            cause = None if self._task.cancelled() else self._task.exception()
            raise InfraFailure(
                f"MCP server {self._label!r} died and did not {what}: {cause!r:.300}"
            )
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=_GRACE_S)
        raise InfraTimeout(f"MCP server {self._label!r} did not {what} in {timeout_s:g} s")

    async def _own(self, client: Any, ready: asyncio.Future[None]) -> None:
        async with client:
            ready.set_result(None)
            while (job := await self._jobs.get()) is not None:
                try:
                    result = await job.work(client)
                except Exception as error:
                    if not job.done.done():
                        job.done.set_exception(error)
                else:
                    if not job.done.done():
                        job.done.set_result(result)


def _listed(tool: Any) -> Listed:
    hints = tool.annotations
    return Listed(
        name=tool.name,
        description=tool.description or "",
        schema=tool.input_schema,
        reads_only=bool(hints is not None and hints.read_only_hint),
    )


def _answer(result: Any) -> Answer:
    """Text parts joined by lines; parts of other kinds are named, not shown."""
    parts = [
        part.text if getattr(part, "type", "") == "text" else f"[{getattr(part, 'type', '?')}]"
        for part in result.content
    ]
    text = "\n".join(parts)
    structured = result.structured_content
    return Answer(
        value=text if structured is None else structured,
        text=text or ("" if structured is None else json.dumps(structured)),
        failed=bool(result.is_error),
    )
