"""A chat server for tests that fails as told: each request takes the next step of a script."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Step = Callable[[web.Request, dict[str, Any]], Any]


@dataclass
class Stub:
    """What came in, and what goes out next; the last step is repeated."""

    steps: list[Step]
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    peers: set[Any] = field(default_factory=set)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername"))
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        result = step(request, body)
        return await result if asyncio.iscoroutine(result) else result


def says(
    content: str = "hello", *, prompt_ids=None, ids=None, logprobs=None, **choice: Any
) -> Step:
    """A whole chat answer; lists may be functions of the request's body."""

    def step(_: web.Request, body: dict[str, Any]) -> web.Response:
        data: dict[str, Any] = {
            "choices": [
                {"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
                | choice
            ],
            "usage": {
                "prompt_tokens": 10,
                "completion_tokens": 3,
                "prompt_tokens_details": {"cached_tokens": 4},
            },
        }
        if prompt_ids is not None:
            data["prompt_token_ids"] = prompt_ids
        if ids is not None:
            data["choices"][0]["token_ids"] = ids
        if logprobs is not None:
            data["choices"][0]["logprobs"] = {
                "content": [{"token": "?", "logprob": value} for value in logprobs]
            }
        return web.json_response(data)

    return step


def status(code: int, text: str = "", **headers: str) -> Step:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request, body: web.Response(status=code, text=text, headers=named)


def raw(text: str) -> Step:
    return lambda request, body: web.Response(text=text)


def hangs(request: web.Request, body: dict[str, Any]) -> Any:
    return asyncio.sleep(30)


def cut(request: web.Request, body: dict[str, Any]) -> web.Response:
    """The connection is gone before any answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def cut_in_body(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Half of the answer, then nothing."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"choices": [')
    assert request.transport is not None
    request.transport.abort()
    return response


@contextmanager
def serving(*steps: Step) -> Iterator[Stub]:
    """A stub on a free port of the loopback, in a thread of its own."""
    stub, ready, loop = Stub(list(steps)), threading.Event(), asyncio.new_event_loop()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", stub.handle)
        app.router.add_post("/v1/completions", stub.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        stub.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        return runner

    def work() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        left = asyncio.all_tasks(loop)  # handlers that were told to hang
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    thread = threading.Thread(target=work, name="stub server")
    thread.start()
    assert ready.wait(10)
    try:
        yield stub
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
