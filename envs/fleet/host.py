"""The far side: environments by key in one worker process, each call answered by a Reply."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from turngym.envs.env import TextEnv
from turngym.errors import (
    AgentTimeoutError,
    ContextOverflow,
    EnvironmentFailure,
    InfraTimeout,
    NotTheAgentsFault,
    WorkerLost,
)
from turngym.types import Message, Privileged

__all__ = ["Failure", "Host", "Make", "Reply", "Tell", "Told"]

Tell = Callable[[Any], None]
Make = Callable[[Tell], TextEnv]
"""Makes an environment; what it hands to `tell` reaches the `hear` of the near side."""

_THREADS = 4096
"""At most: steps that hang for ever keep theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the near side knows of an environment without asking."""

    env_id: str
    tools: tuple[Mapping[str, Any], ...]
    privileged: Privileged
    success_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An exception in a form that every process can read."""

    kind: type[Exception]
    """Of `turngym.errors`."""
    text: str
    """The traceback, or what to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to one call."""

    value: Any = None
    told: Told | None = None
    """None: as before."""
    heard: tuple[Any, ...] = ()
    """What the environment handed to `tell`, in order."""
    failure: Failure | None = None


@dataclass(slots=True)
class _Slot:
    """One environment."""

    env: TextEnv | None = None
    told: Told | None = None
    heard: list[Any] = field(default_factory=list)
    at_work: asyncio.Lock = field(default_factory=asyncio.Lock)

    def reset(self, make: Make, seed: int | None, options: dict[str, Any]) -> Any:
        """Messages, info and fingerprint."""
        env = self.env = make(self.heard.append) if self.env is None else self.env
        return (*env.reset(seed=seed, options=options), env.fingerprint())

    def reply(self, value: Any) -> Reply:
        """With whatever is new since the last one."""
        assert self.env is not None
        env = self.env
        told = Told(
            env_id=env.spec.id if env.spec is not None else type(env).__name__,
            tools=tuple(env.tools),
            privileged=env.privileged,
            success_at=env.success_at,
        )
        news = None if told == self.told else told
        self.told = told
        return Reply(value=value, told=news, heard=self._taken())

    def failed(self, error: Exception) -> Reply:
        """With what was told before it broke."""
        return Reply(failure=_failure(error), heard=self._taken())

    def _taken(self) -> tuple[Any, ...]:
        heard = tuple(self.heard)
        self.heard.clear()
        return heard


class Host:
    """Runs as a Ray actor; one per worker process."""

    def __init__(self) -> None:
        self._slots: dict[int, _Slot] = {}
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="host")

    async def ping(self, make: Make | None = None) -> None:
        """Answered once the process is up and has loaded `make`."""

    async def reset(self, key: int, make: Make, seed: int | None, options: dict[str, Any]) -> Reply:
        """Begin an episode in the environment `key`, made if need be."""
        slot = self._slots.setdefault(key, _Slot())
        return await self._in_thread(slot, lambda: slot.reset(make, seed, options))

    async def step(self, key: int, action: Message) -> Reply:
        """What `TextEnv.step` gives."""
        slot = self._slots.get(key)
        if slot is None or slot.env is None:
            return _UNKNOWN
        env = slot.env
        if env.astep is None:
            return await self._in_thread(slot, lambda: env.step(action))
        async with slot.at_work:
            try:
                return slot.reply(await env.astep(action))
            except Exception as error:
                return slot.failed(error)

    async def fork(self, key: int, twin: int, seed: int | None) -> Reply:
        """A copy under the key `twin`; gives its fingerprint."""
        slot, other = self._slots.get(key), _Slot()
        if slot is None or slot.env is None:
            return _UNKNOWN
        env = slot.env

        def fork() -> str:
            copy = other.env = env.fork(seed=seed)
            return copy.fingerprint()

        self._slots[twin] = other
        async with slot.at_work:
            return await self._in_thread(other, fork)

    async def fingerprint(self, key: int) -> Reply:
        """Of the state as it is now."""
        slot = self._slots.get(key)
        if slot is None or slot.env is None:
            return _UNKNOWN
        return await self._in_thread(slot, slot.env.fingerprint)

    async def close(self, key: int) -> None:
        """Forget the environment; it is closed when the step it is in has ended."""
        slot = self._slots.pop(key, None)
        if slot is None:
            return
        async with slot.at_work:
            if slot.env is not None:
                await asyncio.get_running_loop().run_in_executor(self._threads, slot.env.close)

    async def _in_thread(self, slot: _Slot, work: Callable[[], Any]) -> Reply:
        def do() -> Reply:
            try:
                return slot.reply(work())
            except Exception as error:  # a stranger's code: it breaks this episode alone
                return slot.failed(error)

        async with slot.at_work:
            return await asyncio.get_running_loop().run_in_executor(self._threads, do)


_UNKNOWN = Reply(
    failure=Failure(kind=WorkerLost, text="the Ray worker was started anew: its episodes are gone")
)
_KEPT = (ContextOverflow, AgentTimeoutError, NotTheAgentsFault)


def _failure(error: Exception) -> Failure:
    """`error` as one of ours: others may hold what no other process can read."""
    kind: type[Exception] = EnvironmentFailure
    if isinstance(error, _KEPT):
        kind = next(c for c in type(error).__mro__ if c.__module__ == "turngym.errors")
    elif isinstance(error, TimeoutError):
        kind = InfraTimeout
    text = "".join(traceback.format_exception(error)).rstrip()
    return Failure(kind=kind, text=f"on a Ray worker:\n{text}")
