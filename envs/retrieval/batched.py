"""Searches of concurrent callers in one call of the search engine."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from turngym.envs.retrieval.passages import Hit, Retriever, check_k

__all__ = ["Batched"]


@dataclass(slots=True, eq=False)
class _Request:
    queries: tuple[str, ...]
    k: int
    hits: list[tuple[Hit, ...]] = field(default_factory=list)
    error: Exception | None = None
    answered: threading.Event = field(default_factory=threading.Event)


class Batched:
    """A `Retriever` that asks `source` once for all callers that are waiting.

    Nobody waits for company: a caller that finds a place free asks at once, and whoever comes while
    all places are taken travels together with the others in the next call. Under load batches grow
    by themselves; a lone caller loses nothing.

    Args:
        source: asked with the distinct queries of a batch, in order of arrival.
        max_queries: of one call; more wait for the next one.
        in_flight: calls under way at once.

    A call that fails fails everyone in it with the same error.
    """

    def __init__(self, source: Retriever, *, max_queries: int = 256, in_flight: int = 2) -> None:
        if max_queries < 1 or in_flight < 1:
            raise ValueError(
                f"max_queries and in_flight must be at least 1, got {max_queries} and {in_flight}"
            )
        self._source, self._max_queries, self._in_flight = source, max_queries, in_flight
        self._places = threading.Semaphore(in_flight)
        self._waiting: list[_Request] = []
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled as its settings; whoever waits stays behind."""
        return _remake, (self._source, self._max_queries, self._in_flight)

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Hit, ...]]:
        """For each query what `source` finds for it."""
        check_k(k)
        if not queries:
            return []
        mine = _Request(tuple(queries), k)
        with self._lock:
            self._waiting.append(mine)
        travels = False
        while not travels:
            with self._places:
                batch = self._take(mine)
                if batch:
                    self._ask(batch)
            travels = not batch or mine in batch  # else it was others' turn first
        mine.answered.wait()
        if mine.error is not None:
            raise mine.error
        return mine.hits

    def _take(self, mine: _Request) -> list[_Request]:
        """The requests that travel next: oldest first, of one k, as many as fit.

        Nothing when `mine` is on its way already, in a batch that somebody else has taken.
        """
        with self._lock:
            if mine not in self._waiting:
                return []
            batch: list[_Request] = []
            size = 0
            for request in self._waiting:
                fits = not batch or size + len(request.queries) <= self._max_queries
                if fits and request.k == self._waiting[0].k:
                    batch.append(request)
                    size += len(request.queries)
            self._waiting = [request for request in self._waiting if request not in batch]
            return batch

    def _ask(self, batch: Sequence[_Request]) -> None:
        distinct = list(dict.fromkeys(query for request in batch for query in request.queries))
        try:
            found = dict(zip(distinct, self._source.search(distinct, batch[0].k), strict=True))
        except Exception as error:  # the boundary: whoever waits must hear of it
            for request in batch:
                request.error = error
        else:
            for request in batch:
                request.hits = [found[query] for query in request.queries]
        for request in batch:
            request.answered.set()


def _remake(source: Retriever, max_queries: int, in_flight: int) -> Batched:
    return Batched(source, max_queries=max_queries, in_flight=in_flight)
