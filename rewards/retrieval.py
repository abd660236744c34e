"""Rankings against relevant passages: recall, nDCG and reciprocal rank at a cut-off.

Rankings are sequences of passage ids, best first. A passage that is listed twice counts once, at
its first place, so that repeating a hit earns nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

__all__ = ["ndcg", "recall", "reciprocal_rank"]


def recall(ranking: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Share of the relevant passages among the first `k`, in [0, 1].

    Raises:
        ValueError: nothing is relevant, or `k` is below 1.
    """
    gold = set(_some(relevant))
    return len(gold.intersection(_top(ranking, k))) / len(gold)


def reciprocal_rank(ranking: Sequence[str], relevant: Collection[str], k: int) -> float:
    """1 / place of the first relevant passage among the first `k`; 0 when there is none.

    Raises:
        ValueError: nothing is relevant, or `k` is below 1.
    """
    gold = set(_some(relevant))
    places = (place for place, name in enumerate(_top(ranking, k), 1) if name in gold)
    return next((1 / place for place in places), 0.0)


def ndcg(ranking: Sequence[str], gains: Mapping[str, float], k: int) -> float:
    """Discounted gain of the first `k` over that of the best possible ranking, in [0, 1].

    DCG = sum of gain / log2(place + 1), linear in the gain as in trec_eval (Jarvelin and
    Kekalainen 2002).

    Raises:
        ValueError: no gain is positive, one is negative, or `k` is below 1.
    """
    if any(gain < 0 for gain in gains.values()):
        raise ValueError("ndcg needs gains of 0 or more")
    ideal = sorted((gain for gain in gains.values() if gain > 0), reverse=True)[:k]
    _some(ideal)
    return _dcg([gains.get(name, 0.0) for name in _top(ranking, k)]) / _dcg(ideal)


def _dcg(gains: Sequence[float]) -> float:
    return math.fsum(gain / math.log2(place + 1) for place, gain in enumerate(gains, 1))


def _top(ranking: Sequence[str], k: int) -> list[str]:
    if k < 1:
        raise ValueError(f"the cut-off k must be at least 1, got {k}")
    return list(dict.fromkeys(ranking))[:k]


def _some(relevant: Collection[object]) -> Collection[object]:
    if not relevant:
        raise ValueError("a retrieval score needs at least one relevant passage, got none")
    return relevant
