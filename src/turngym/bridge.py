"""The one way from synchronous code to an async agent: a background loop that owns all clients.

Environments call simulated users and judges through `call`, from any thread, with or without a
running loop. All of them share one event loop in one daemon thread, so that hundreds of pending
requests cost neither threads nor connections.
"""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from turngym.errors import InfraTimeout, UsageError
from turngym.types import Agent, Completion, Context, Sampling

__all__ = ["call", "run", "submit"]

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None


def call(
    agent: Agent,
    context: Context,
    *,
    sampling: Sampling | None = None,
    seed: int = 0,
    timeout_s: float | None = None,
) -> Completion:
    """The agent's completion, waited for by the calling thread.

    Args:
        agent: any Agent; what it raises comes through unchanged.
        context: what it answers.
        sampling: how it draws its reply.
        seed: keys all sampling noise of this turn.
        timeout_s: the agent is cancelled after so many seconds; None waits for ever.

    Raises:
        InfraTimeout: no answer in `timeout_s`.
        UsageError: called on the bridge's own loop, where waiting would block every client.
    """
    return run(agent.act(context, sampling=sampling or Sampling(), seed=seed), timeout_s)


def run(work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
    """The result of `work`, run on the background loop; errors are those of `call`."""
    if threading.current_thread() is _thread:
        work.close()
        raise UsageError("turngym.call inside the bridge's own loop: await the agent instead")
    future = submit(work)
    try:
        return future.result(timeout_s)
    except BaseException as error:
        if future.done():
            raise  # what the work itself raised, its own TimeoutError included
        future.cancel()  # the caller stops waiting: time is up, or Ctrl-C
        if isinstance(error, TimeoutError):
            raise InfraTimeout(f"no answer in {timeout_s} s") from None
        raise


def submit(work: Coroutine[Any, Any, T]) -> Future[T]:
    """`work` under way on the background loop; for clients that must stay on one loop."""
    return asyncio.run_coroutine_threadsafe(work, _running_loop())


def _running_loop() -> asyncio.AbstractEventLoop:
    global _loop, _thread
    with _lock:
        if _loop is None or _thread is None or not _thread.is_alive():
            _loop = asyncio.new_event_loop()
            _thread = threading.Thread(target=_loop.run_forever, name="turngym-bridge", daemon=True)
            _thread.start()
        return _loop
