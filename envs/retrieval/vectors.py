"""Dense retrieval by exact inner products, and the mixture of two rankings.

The embedding model is a function from texts to vectors, so that any sentence-embedding library
fits. `approximate.py` has the index for corpora too large to be compared with one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from turngym.envs.retrieval.passages import Hit, Passage, Retriever, check_k

__all__ = ["Dense", "Embed", "Hybrid", "unit"]

Embed = Callable[[Sequence[str]], npt.NDArray[np.float32]]
"""Texts to vectors [texts, dimensions]; a constant prefix such as `query: ` belongs in here."""


class Dense:
    """Exact search by cosine similarity; ties follow the order of the passages.

    Args:
        passages: what can be found.
        embed_passages: embeds `Passage.contents`.
        embed_queries: embeds queries; None uses `embed_passages`.
    """

    def __init__(
        self,
        passages: Sequence[Passage],
        embed_passages: Embed,
        embed_queries: Embed | None = None,
    ) -> None:
        if not passages:
            raise ValueError("a dense index needs at least one passage, got none")
        self._passages = tuple(passages)
        self._embed = embed_queries or embed_passages
        self._vectors = unit(embed_passages([p.contents for p in passages]), len(passages))

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Hit, ...]]:
        """For each query the `k` most similar passages, best first."""
        check_k(k)
        if not queries:
            return []
        scores = unit(self._embed(list(queries)), len(queries)) @ self._vectors.T
        return [self._best(row, k) for row in scores]

    def _best(self, scores: npt.NDArray[np.float32], k: int) -> tuple[Hit, ...]:
        order = np.argsort(-scores, kind="stable")[:k]
        return tuple(Hit(passage=self._passages[n], score=float(scores[n])) for n in order)


class Hybrid:
    """Reciprocal rank fusion of several retrievers (Cormack et al. 2009).

    Score: sum over retrievers of 1 / (offset + place), places from 1; ties by passage id.

    Args:
        retrievers: whose rankings are mixed.
        depth: hits taken from each before mixing.
        offset: how little the first places stand out; 60 in the paper.
    """

    def __init__(
        self, retrievers: Sequence[Retriever], *, depth: int = 100, offset: float = 60.0
    ) -> None:
        self._retrievers, self._depth, self._offset = tuple(retrievers), check_k(depth), offset

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Hit, ...]]:
        """For each query at most `k` hits, best first."""
        check_k(k)
        rankings = [retriever.search(queries, self._depth) for retriever in self._retrievers]
        return [self._mix([ranking[n] for ranking in rankings], k) for n in range(len(queries))]

    def _mix(self, rankings: Sequence[Sequence[Hit]], k: int) -> tuple[Hit, ...]:
        scores: dict[str, float] = {}
        passages: dict[str, Passage] = {}
        for ranking in rankings:
            for place, hit in enumerate(ranking, 1):
                id = hit.passage.id
                scores[id] = scores.get(id, 0.0) + 1 / (self._offset + place)
                passages[id] = hit.passage
        order = sorted(scores, key=lambda id: (-scores[id], id))[:k]
        return tuple(Hit(passage=passages[id], score=scores[id]) for id in order)


def unit(vectors: npt.NDArray[np.float32], rows: int) -> npt.NDArray[np.float32]:
    """`vectors` [rows, d] scaled to length 1; zeros stay zeros.

    Raises:
        ValueError: another shape.
    """
    vectors = np.asarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != rows:
        raise ValueError(f"the embedding of {rows} texts must be [{rows}, d], got {vectors.shape}")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: npt.NDArray[np.float32] = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled
