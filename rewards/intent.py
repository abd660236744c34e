"""The intent-aware reward of ChatR1: queries against the human rewrite of the question.

R = F1(answer, gold) + alpha * max over issued queries of F1(query, rewrite) (ChatR1, arXiv
2510.13312, after its re-implementation InteractiveChat-R1; alpha is a parameter because the value
of the official code is not known, 1.0 in the re-implementation). Three placements with one sum:
all at the end, at the query that attains the maximum, or as gains while the episode runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from turngym.rewards.match import set_f1
from turngym.rewards.reward import reward
from turngym.types import Trajectory

__all__ = [
    "QUERY",
    "REWRITES",
    "chatr1_intent",
    "intent_at_best",
    "intent_gains",
    "intent_terminal",
    "intent_turns",
]

QUERY = "query"
"""Key of `Turn.info`: the query that this turn sent to the search engine."""
REWRITES = "rewrites"
"""Key of `Privileged.hidden_state`: the question as people would ask it without its conversation."""


def intent_terminal(queries: Sequence[str], rewrite: str, alpha: float = 1.0) -> float:
    """alpha * max over `queries` of F1 with `rewrite`; 0 without a query."""
    return alpha * max((set_f1(query, rewrite) for query in queries), default=0.0)


def intent_at_best(queries: Sequence[str], rewrite: str, alpha: float = 1.0) -> tuple[float, ...]:
    """One value per query: the whole term at the first query that attains the maximum, 0 elsewhere."""
    scores = [set_f1(query, rewrite) for query in queries]
    if not scores:
        return ()
    best = scores.index(max(scores))
    return tuple(alpha * score if n == best else 0.0 for n, score in enumerate(scores))


def intent_gains(queries: Sequence[str], rewrite: str, alpha: float = 1.0) -> tuple[float, ...]:
    """One value per query: by how much it raises the maximum so far.

    The only one of the three that is known at the time of the search; it sums to the same term.
    """
    gains: list[float] = []
    top = 0.0
    for query in queries:
        score = set_f1(query, rewrite)
        gains.append(alpha * max(score - top, 0.0))
        top = max(top, score)
    return tuple(gains)


@reward("chatr1_intent", level="trajectory")
def chatr1_intent(trajectory: Trajectory) -> float:
    """The intent term of recorded searches, alpha 1, to be added to the answer's score."""
    queries = [turn.info[QUERY] for turn in trajectory.turns if turn.info.get(QUERY)]
    rewrites = trajectory.privileged.hidden_state.get(REWRITES, ())
    return max((intent_terminal(queries, rewrite) for rewrite in rewrites), default=0.0)


@reward("chatr1_intent_turns", level="turn")
def intent_turns(trajectory: Trajectory) -> tuple[float | None, ...]:
    """The same term at the search that attains it; None for turns that searched for nothing."""
    rewrites = trajectory.privileged.hidden_state.get(REWRITES, ())
    queries = [turn.info.get(QUERY) for turn in trajectory.turns]
    asked = [query for query in queries if query]
    if not rewrites:
        return (None,) * len(queries)
    paid = iter(max((intent_at_best(asked, rewrite) for rewrite in rewrites), key=sum))
    return tuple(next(paid) if query else None for query in queries)
