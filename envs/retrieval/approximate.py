"""Dense retrieval over a proximity graph (HNSW, arXiv 1603.09320), by usearch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from turngym.envs.retrieval.passages import Hit, Passage, check_k
from turngym.envs.retrieval.vectors import Embed, unit
from turngym.errors import DataError, MissingExtraError

__all__ = ["Approximate"]


class Approximate:
    """Cosine search that looks at a few hundred vectors instead of all; may miss some neighbours.

    `Dense` is exact and the better choice up to about 100,000 passages. Built by one thread, so
    that the same vectors give the same graph.

    Args:
        passages: what can be found.
        embed_passages: embeds `Passage.contents`; not called when `path` holds the index.
        embed_queries: embeds queries; None uses `embed_passages`.
        path: file of the index: written when missing, else memory-mapped.
        links: of each vector in the graph; memory grows with it.
        build_width: candidates looked at for each vector that is added.
        search_width: candidates looked at for each query: more find more and take longer.

    Raises:
        DataError: the file at `path` is no index of that many passages.
        MissingExtraError: usearch is not installed.
    """

    def __init__(
        self,
        passages: Sequence[Passage],
        embed_passages: Embed,
        embed_queries: Embed | None = None,
        *,
        path: str | Path | None = None,
        links: int = 16,
        build_width: int = 128,
        search_width: int = 128,
    ) -> None:
        if not passages:
            raise ValueError("a dense index needs at least one passage, got none")
        self._passages = tuple(passages)
        self._embed = embed_queries or embed_passages
        if path is not None and Path(path).exists():
            self._index = _opened(Path(path), len(passages), search_width)
            return
        vectors = unit(embed_passages([p.contents for p in passages]), len(passages))
        self._index = _usearch().Index(
            ndim=vectors.shape[1],
            metric="ip",
            dtype="f32",
            connectivity=links,
            expansion_add=build_width,
            expansion_search=search_width,
        )
        self._index.add(np.arange(len(passages)), vectors, threads=1)
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._index.save(str(path))

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Hit, ...]]:
        """For each query `k` of the most similar passages, best first."""
        check_k(k)
        if not queries:
            return []
        vectors = unit(self._embed(list(queries)), len(queries))
        return [self._best(self._index.search(vector, k, threads=1)) for vector in vectors]

    def _best(self, found: Any) -> tuple[Hit, ...]:
        hits = sorted(
            (float(gap), int(key)) for key, gap in zip(found.keys, found.distances, strict=True)
        )
        # The distance of the library is 1 - inner product.
        return tuple(Hit(passage=self._passages[key], score=1.0 - gap) for gap, key in hits)


def _opened(path: Path, count: int, search_width: int) -> Any:
    library = _usearch()
    try:
        index = library.Index.restore(str(path), view=True)
    except (ValueError, RuntimeError) as error:
        raise DataError(f"{path} is no index of usearch ({error}): delete it") from error
    if index is None or len(index) != count:
        held = 0 if index is None else len(index)
        raise DataError(
            f"{path} holds an index of {held} passages, expected {count}: delete it to build it anew"
        )
    index.expansion_search = search_width
    return index


def _usearch() -> Any:
    try:
        import usearch.index
    except ImportError as error:
        raise MissingExtraError("usearch", "dense") from error
    return usearch.index
