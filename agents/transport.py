"""How bytes travel to an endpoint: httpx, the public client, or aiohttp, which costs a tenth of it.

A client belongs to the event loop that it was made in, and agents are asked from several (each
`rollout()` has its own): there is one client per loop, closed when its loop ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

from turngym.errors import InfraFailure, InfraTimeout, MissingExtraError

__all__ = ["AiohttpTransport", "HttpxTransport", "Reply", "Transport"]

C = TypeVar("C", bound=AbstractAsyncContextManager[Any])


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    """Names in any case, as the client library gives them; look-ups ignore the case."""
    body: bytes


class Transport(Protocol):
    """Sends one request; no retries."""

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> Reply:
        """The answer, whatever its status.

        Raises:
            InfraTimeout: no whole answer in `timeout_s`.
            InfraFailure: no connection, or it was cut.
        """
        ...


class _PerLoop(Generic[C]):
    """One client for each running event loop."""

    def __init__(self, make: Callable[[], C]) -> None:
        self._make = make
        self._held: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[C, AsyncIterator[None]]] = (
            WeakKeyDictionary()
        )

    async def get(self) -> C:
        """The client of the running loop."""
        loop = asyncio.get_running_loop()
        held = self._held.get(loop)
        if held is None:
            client = self._make()
            held = self._held[loop] = client, _hold(client)
            await anext(held[1])
        return held[0]


async def _hold(client: AbstractAsyncContextManager[Any]) -> AsyncIterator[None]:
    """Keeps `client` open; a loop that ends closes its asynchronous generators, and so the client."""
    async with client:
        yield


class HttpxTransport:
    """The default: proxies, HTTP/2 and certificates as httpx reads them from the environment.

    Args:
        max_connections: kept open and used again.
        transport: makes an httpx transport of your own, one per event loop, such as the class
            `httpx_aiohttp.AiohttpTransport`.
    """

    def __init__(
        self, *, max_connections: int = 256, transport: Callable[[], Any] | None = None
    ) -> None:
        import httpx

        self._httpx = httpx
        limits = httpx.Limits(
            max_connections=max_connections, max_keepalive_connections=max_connections
        )
        self._clients = _PerLoop(
            lambda: httpx.AsyncClient(
                limits=limits, timeout=None, transport=None if transport is None else transport()
            )
        )

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> Reply:
        """See `Transport`."""
        client = await self._clients.get()
        try:
            async with asyncio.timeout(timeout_s):
                answer = await client.post(url, content=body, headers=dict(headers))
                return Reply(answer.status_code, answer.headers, answer.content)
        except (TimeoutError, self._httpx.TimeoutException) as error:
            raise InfraTimeout(f"{url}: no answer in {timeout_s:g} s") from error
        except self._httpx.HTTPError as error:
            raise InfraFailure(f"{url}: {type(error).__name__}: {error}") from error


class AiohttpTransport:
    """For batch rollouts with hundreds of requests in flight.

    Args:
        max_connections: open at once; further requests wait.

    Raises:
        MissingExtraError: aiohttp is not installed.
    """

    def __init__(self, *, max_connections: int = 1024) -> None:
        try:
            import aiohttp
        except ImportError as error:
            raise MissingExtraError("aiohttp", "serve") from error
        self._aiohttp = aiohttp
        self._clients = _PerLoop(
            lambda: aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=max_connections),
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        )

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> Reply:
        """See `Transport`."""
        client = await self._clients.get()
        try:
            async with (
                asyncio.timeout(timeout_s),
                client.post(url, data=body, headers=headers) as answer,
            ):
                return Reply(answer.status, answer.headers, await answer.read())
        except TimeoutError as error:
            raise InfraTimeout(f"{url}: no answer in {timeout_s:g} s") from error
        except self._aiohttp.ClientError as error:
            raise InfraFailure(f"{url}: {type(error).__name__}: {error}") from error
