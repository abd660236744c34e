"""Passages from a search server that speaks the Search-R1 protocol, with retries.

`POST /retrieve {"queries": [...], "topk": k, "return_scores": true}` answers
`{"result": [[{"document": {"id", "contents"}, "score"}, ...], ...]}`, one list per query.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from turngym.envs.retrieval.passages import Hit, check_k, parse_contents
from turngym.errors import InfraFailure, InfraTimeout

__all__ = ["SearchServer"]


class SearchServer:
    """A `Retriever` behind an address; all queries of one call travel in one request.

    Args:
        url: of the end point, such as `http://127.0.0.1:8000/retrieve`.
        timeout_s: for one attempt.
        attempts: how often a request is sent before it counts as failed; server errors (5xx), 429
            and lost connections are tried again, other refusals are not.
        backoff_s: pause before the second attempt, doubled before each further one.
        transport: an httpx transport, for tests and proxies.

    Raises (in `search`):
        InfraTimeout: the last attempt timed out.
        InfraFailure: the server refused, was not there, or answered something else.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 30.0,
        attempts: int = 3,
        backoff_s: float = 0.5,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if attempts < 1:
            raise ValueError(f"attempts must be at least 1, got {attempts}")
        self.url, self._attempts, self._backoff_s, self._sleep = url, attempts, backoff_s, sleep
        self._timeout_s = timeout_s
        self._client = httpx.Client(timeout=timeout_s, transport=transport)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its settings; connections, and a transport of your own, stay behind."""
        return _remake, (self.url, self._timeout_s, self._attempts, self._backoff_s)

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Hit, ...]]:
        """For each query the server's hits, in its order, at most `k`."""
        check_k(k)
        if not queries:
            return []
        body = {"queries": list(queries), "topk": k, "return_scores": True}
        return _parse(self._post(body), len(queries), k, self.url)

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def _post(self, body: Mapping[str, Any]) -> Any:
        for attempt in range(1, self._attempts + 1):
            last = attempt == self._attempts
            try:
                response = self._client.post(self.url, json=body)
                passing = response.status_code == 429 or response.status_code >= 500
                if last or not passing:
                    return _body(response, self.url)
            except httpx.TimeoutException as error:
                if last:
                    raise InfraTimeout(
                        f"search server {self.url}: no answer in time, {attempt} attempts"
                    ) from error
            except httpx.TransportError as error:
                if last:
                    raise InfraFailure(
                        f"search server {self.url}: {error}, {attempt} attempts. Is it running? "
                        "`turngym serve-search corpus.jsonl` starts one."
                    ) from error
            self._sleep(self._backoff_s * 2 ** (attempt - 1))
        raise AssertionError("unreachable: the last attempt returns or raises")


def _remake(url: str, timeout_s: float, attempts: int, backoff_s: float) -> SearchServer:
    return SearchServer(url, timeout_s=timeout_s, attempts=attempts, backoff_s=backoff_s)


def _body(response: httpx.Response, url: str) -> Any:
    if response.status_code != 200:
        raise InfraFailure(
            f"search server {url}: status {response.status_code}, {response.text:.200}"
        )
    try:
        return response.json()
    except ValueError as error:
        raise InfraFailure(f"search server {url}: no JSON, got {response.text:.200}") from error


def _parse(answer: Any, count: int, k: int, url: str) -> list[tuple[Hit, ...]]:
    try:
        rows = answer["result"]
        if len(rows) != count:
            raise InfraFailure(f"search server {url}: {len(rows)} results for {count} queries")
        return [tuple(_hit(item) for item in row[:k]) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise InfraFailure(
            f"search server {url}: the answer is not of the Search-R1 protocol ({error!r}), "
            f"got {str(answer):.200}"
        ) from error


def _hit(item: Any) -> Hit:
    document = item["document"]
    # Dense servers of the original send the corpus row; its id may be a number.
    passage = parse_contents(str(document.get("id", "")), document["contents"])
    return Hit(passage=passage, score=float(item.get("score", 0.0)))
