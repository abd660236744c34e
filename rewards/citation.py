"""Citation-aware rubric reward (CaRR) and its mixture with the outcome (C-GRPO), arXiv 2601.06021.

A question is taken apart into single-hop rubrics over entities; entity 0 is the answer. A rubric
scores when it is supported by cited text and connected to the answer through supported rubrics.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["ANSWER", "Rubric", "carr", "connected", "mix_outcome"]

ANSWER = 0
"""Number of the entity that is the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rubric:
    """One fact that an answer should rest on."""

    statement: str
    entities: frozenset[int]
    """Numbers of the entities that the statement is about."""


def connected(rubrics: Sequence[Rubric], supported: Collection[int]) -> frozenset[int]:
    """Numbers of the supported rubrics that chains of supported rubrics join to the answer."""
    waiting = set(supported)
    reached, entities = set[int](), {ANSWER}
    while True:
        new = {number for number in waiting if rubrics[number].entities & entities}
        if not new:
            return frozenset(reached)
        waiting -= new
        reached |= new
        entities.update(*(rubrics[number].entities for number in new))


def carr(
    rubrics: Sequence[Rubric],
    identities: Mapping[int, str],
    supported: Collection[int],
    cited: Collection[str],
) -> float:
    """Share of rubrics that are filled, supported and connected; 0 when nothing is cited.

    Args:
        rubrics: the question's, at least one.
        identities: names that the response states for entities; empty or missing when it does not.
        supported: numbers of rubrics that a judge found fully supported by the cited text.
        cited: what the response cites.
    """
    if not rubrics:
        raise ValueError("carr needs at least one rubric, got none")
    if not cited:
        return 0.0
    named = {entity for entity, name in identities.items() if name.strip()}
    filled = {number for number in supported if rubrics[number].entities <= named}
    return len(connected(rubrics, filled)) / len(rubrics)


def mix_outcome(
    outcomes: Sequence[float],
    rubrics: Sequence[float],
    *,
    alpha: float = 0.3,
    normalize: bool = True,
) -> tuple[float, ...]:
    """C-GRPO's rewards of one group: right episodes give up `alpha` of theirs for the rubric score.

    R = 0 where the outcome is 0, else (1 - alpha) * outcome + alpha * rubric / largest rubric of the
    group. `normalize=False` leaves the division out, as the released scripts do in effect.
    """
    top = max(rubrics, default=0.0) if normalize else 1.0
    return tuple(
        (1 - alpha) * outcome + alpha * (score / top if top else 0.0) if outcome else 0.0
        for outcome, score in zip(outcomes, rubrics, strict=True)
    )
