"""Rewards for how an agent searched: ReSeek, InForage, R3-RAG and the action labels of ConvAgent."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

__all__ = [
    "JudgeScores",
    "action_label",
    "inforage",
    "r3_rag",
    "reseek_judge",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeScores:
    """What a verdict on retrieved passages earns (ReSeek, arXiv 2510.00568, third-party notes)."""

    match: float = 0.3
    accepts_useless: float = -0.6
    rejects_useful: float = -0.3


def reseek_judge(verdict: bool, useful: bool, scores: JudgeScores | None = None) -> float:
    """Reward of a verdict: `verdict` says that the passages help, `useful` whether they do."""
    scores = scores or JudgeScores()
    if verdict == useful:
        return scores.match
    return scores.accepts_useless if verdict else scores.rejects_useful


def inforage(
    answer_score: float,
    retrieved: Sequence[Collection[str]],
    gold: Collection[str],
    *,
    num_steps: int,
    decay: float = 0.95,
    weight: float = 0.2,
) -> float:
    """decay^num_steps (from two steps on) * (answer_score + weight * best coverage of gold).

    Coverage is the share of gold passages that one search found; the best search counts
    (InForage, arXiv 2505.09316, released code). Without gold passages coverage is 0.
    """
    if num_steps < 0:
        raise ValueError(f"num_steps must be 0 or more, got {num_steps}")
    wanted = set(gold)
    found = max((len(wanted.intersection(names)) for names in retrieved), default=0)
    coverage = found / len(wanted) if wanted else 0.0
    cost = decay**num_steps if num_steps > 1 else 1.0
    return cost * (answer_score + weight * coverage)


def r3_rag(
    relevances: Sequence[float], *, correct: bool | None, malformed: bool = False
) -> tuple[float, ...]:
    """One reward per step, the last of which answers (R3-RAG, arXiv 2505.23794).

    Args:
        relevances: a judge's score in [0, 1] of what each search step found; the last entry is the
            step that answers, or gave up, and its relevance is not used when it answered.
        correct: None when the budget ran out without an answer.
        malformed: the last step broke the format, which costs 0.9 and leaves the others alone.

    Right: x 1.6, answer 2. Wrong: x 0.8, answer 0. Out of budget: x 0.9.
    """
    if not relevances:
        return ()
    if any(not 0 <= value <= 1 for value in relevances):
        raise ValueError(f"relevances lie in [0, 1], got {list(relevances)}")
    *searches, last = relevances
    if malformed:
        return (*searches, -0.9)
    if correct is None:
        return tuple(0.9 * value for value in (*searches, last))
    factor, final = (1.6, 2.0) if correct else (0.8, 0.0)
    return (*(factor * value for value in searches), final)


def action_label(taken: str | None, wanted: str) -> float:
    """1 for the right kind of reply, -0.5 for a wrong or malformed one (ConvAgent, 2601.13115).

    A malformed reply (None) costs as much as a wrong one; paid 0, it would be the safer choice.
    """
    return 1.0 if taken == wanted else -0.5
