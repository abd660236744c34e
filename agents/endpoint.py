"""A JSON endpoint with retries, shared pauses and a meter: what every HTTP agent sits on."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from turngym.agents.transport import HttpxTransport, Reply, Transport
from turngym.agents.wire import read_json, write_json
from turngym.errors import InfraFailure, InfraTimeout

__all__ = ["Endpoint", "Prices", "Refused", "Retries", "Usage", "is_overflow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """What is tried again, and for how long.

    Lost connections, time-outs, 408, 409, 429, 5xx and answers that are no JSON are tried again
    after a pause drawn from [0, base_s * 2**k], at most `max_pause_s` (full jitter), or the
    server's Retry-After where it is longer.
    """

    attempts: int = 6
    timeout_s: float = 120.0
    """For one attempt."""
    give_up_s: float = 500.0
    """For all of them, pauses included. Below the `act_timeout_s` of a rollout (600), which would
    blame the agent."""
    base_s: float = 0.5
    max_pause_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Dollars per million tokens."""

    prompt: float = 0.0
    cached_prompt: float | None = None
    """Prompt tokens that the server had in its cache; None: as `prompt`."""
    reply: float = 0.0


@dataclass(slots=True, kw_only=True)
class Usage:
    """What an agent has used up so far, as the server counted it."""

    requests: int = 0
    """Answered ones."""
    retries: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    """Part of `prompt_tokens`."""
    reply_tokens: int = 0

    def add(self, usage: Mapping[str, Any] | None) -> None:
        """Count one answer; `usage` is the object of that name in the OpenAI API."""
        self.requests += 1
        usage = usage or {}
        self.prompt_tokens += usage.get("prompt_tokens") or 0
        self.reply_tokens += usage.get("completion_tokens") or 0
        details = usage.get("prompt_tokens_details") or {}
        self.cached_prompt_tokens += details.get("cached_tokens") or 0

    def dollars(self, prices: Prices) -> float:
        """The cost at these prices."""
        cached_price = prices.prompt if prices.cached_prompt is None else prices.cached_prompt
        fresh = self.prompt_tokens - self.cached_prompt_tokens
        total = fresh * prices.prompt + self.cached_prompt_tokens * cached_price
        return (total + self.reply_tokens * prices.reply) / 1e6


class Refused(InfraFailure):
    """The server understood the request and will not do it (4xx); another try would not help."""

    def __init__(self, message: str, status: int, body: str) -> None:
        super().__init__(message)
        self.status, self.body = status, body


def is_overflow(refusal: Refused) -> bool:
    """Whether the conversation was refused for its length."""
    words = refusal.body.lower()
    return refusal.status in (400, 413) and (
        "context_length_exceeded" in words or "context length" in words
    )


class Endpoint:
    """POSTs JSON to the paths under one base address.

    A pause that the server asks for (Retry-After) holds back every request of this endpoint: the
    others would only be refused as well.

    Args:
        base_url: such as `http://localhost:8000/v1`.
        api_key: sent as a bearer token; never part of a message.
        transport: how requests travel.
        retries: see `Retries`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        transport: Transport | None = None,
        retries: Retries | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.retries, self.usage = retries or Retries(), Usage()
        self._transport = transport or HttpxTransport()
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._open_at = 0.0
        self._jitter = random.Random()

    async def post(
        self, path: str, body: Mapping[str, Any], check: Callable[[Any], Any] = lambda data: data
    ) -> Any:
        """`check` of the answer's JSON.

        Args:
            path: such as `/chat/completions`.
            body: sent as JSON.
            check: reads the answer; what it refuses with an ArithmeticError, AttributeError,
                LookupError, TypeError or ValueError is not an answer, and is asked for again.

        Raises:
            Refused: the server will not do it.
            InfraTimeout: the last attempt timed out, or time is up.
            InfraFailure: the last attempt failed otherwise.
        """
        url, content = self.base_url + path, write_json(body)
        began, attempt = time.monotonic(), 0
        while True:
            attempt += 1
            wanted_pause = 0.0
            await self._wait_for_opening(began)
            try:
                left = began + self.retries.give_up_s - time.monotonic()
                timeout_s = min(self.retries.timeout_s, max(left, 0.001))
                reply = await self._transport.post(url, content, self._headers, timeout_s)
                if reply.status == 200:
                    return self._read(reply, url, check)
                wanted_pause = _retry_after(reply.headers)
                raise _failure(reply, url)
            except Refused:
                raise
            except (InfraFailure, InfraTimeout) as error:
                pause = max(self._pause(attempt), wanted_pause)
                late = time.monotonic() + pause - began > self.retries.give_up_s
                if late or attempt >= self.retries.attempts:
                    raise type(error)(f"{error} ({attempt} attempts)") from error
                self.usage.retries += 1
                if wanted_pause:
                    self._open_at = max(self._open_at, time.monotonic() + pause)
                else:
                    await asyncio.sleep(pause)

    async def _wait_for_opening(self, began: float) -> None:
        while (wait := self._open_at - time.monotonic()) > 0:
            if time.monotonic() + wait - began > self.retries.give_up_s:
                raise InfraTimeout(f"{self.base_url} asks to wait {wait:.0f} s, longer than we may")
            # Everyone held back would come back in the same moment.
            await asyncio.sleep(wait + self._jitter.uniform(0, min(wait, 1.0)))

    def _pause(self, attempt: int) -> float:
        longest = min(self.retries.base_s * 2 ** (attempt - 1), self.retries.max_pause_s)
        return self._jitter.uniform(0, longest)

    def _read(self, reply: Reply, url: str, check: Callable[[Any], Any]) -> Any:
        try:
            data = read_json(reply.body)
            result = check(data)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise InfraFailure(
                f"{url}: not an answer of this API ({type(error).__name__}: {error}), "
                f"got {reply.body[:200]!r}"
            ) from error
        self.usage.add(data.get("usage"))
        return result


def _failure(reply: Reply, url: str) -> InfraFailure:
    text = reply.body[:500].decode(errors="replace")
    message = f"{url}: status {reply.status}, {text}"
    passing = reply.status in (408, 409, 429) or reply.status >= 500
    if passing and "insufficient_quota" not in text:  # OpenAI's 429 for an empty account
        return InfraFailure(message)
    if reply.status in (401, 403):
        message += ". Check the API key."
    if reply.status == 404:
        message += ". Check the address (it ends in /v1) and the name of the model."
    return Refused(message, reply.status, text)


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds, from a number or an HTTP date (RFC 9110, 10.2.3); 0 without a readable one."""
    value = headers.get("Retry-After", "").strip()
    try:
        if value.replace(".", "", 1).isdecimal():
            return float(value)
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError):
        return 0.0
