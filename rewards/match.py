"""Answers against reference answers: exact match and F1 with SQuAD's normalisation.

Source: Rajpurkar et al. 2016 (arXiv 1606.05250), as Search-R1 (arXiv 2503.09516) uses it.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable

__all__ = ["best_f1", "exact_match", "f1", "normalize", "set_f1", "sub_exact_match"]

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Lower case, without ASCII punctuation and the articles a, an, the; single spaces.

    Example:
        >>> normalize("The  U.S.A.!")
        'usa'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, references: Iterable[str]) -> bool:
    """Whether the normalised prediction equals a normalised reference."""
    wanted = normalize(prediction)
    return any(normalize(reference) == wanted for reference in references)


def sub_exact_match(prediction: str, references: Iterable[str]) -> bool:
    """Whether a normalised reference, unless it is empty, occurs in the normalised prediction."""
    text = normalize(prediction)
    return any(gold in text for gold in map(normalize, references) if gold)


def f1(prediction: str, reference: str) -> float:
    """Harmonic mean of token precision and recall, repeated tokens counted, in [0, 1].

    Two texts without tokens are equal (1); one of them alone scores 0.
    """
    return _f1(Counter(normalize(prediction).split()), Counter(normalize(reference).split()))


def set_f1(prediction: str, reference: str) -> float:
    """`f1` over sets of tokens: a word repeated in a query neither helps nor hurts."""
    return _f1(
        Counter(set(normalize(prediction).split())), Counter(set(normalize(reference).split()))
    )


def best_f1(prediction: str, references: Iterable[str]) -> float:
    """The highest `f1` over the references.

    Raises:
        ValueError: there is no reference, which no score can stand for.
    """
    scores = [f1(prediction, reference) for reference in references]
    if not scores:
        raise ValueError("best_f1 needs at least one reference answer, got none")
    return max(scores)


def _f1(predicted: Counter[str], wanted: Counter[str]) -> float:
    if not predicted or not wanted:
        return float(predicted == wanted)
    common = (predicted & wanted).total()
    return 2 * common / (predicted.total() + wanted.total())
