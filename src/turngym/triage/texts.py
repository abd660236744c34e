"""Texts made comparable."""

from __future__ import annotations

import math
import re
from collections import Counter

__all__ = ["MAX_CHARACTERS", "clean", "cosine", "shorten", "trigram_overlap", "words"]

MAX_CHARACTERS = 2000
"""Longer texts keep a fifth of this from their beginning and the rest from their end."""

_WORD = re.compile(r"[\w']+")


def shorten(text: str, limit: int = MAX_CHARACTERS) -> str:
    """`text`, or its first fifth and last four fifths of `limit` characters."""
    if len(text) <= limit:
        return text
    head = limit // 5
    return text[:head] + text[len(text) - (limit - head) :]


def clean(text: str) -> str:
    """Shortened, in lower case, with plain apostrophes and single spaces."""
    return " ".join(shorten(text).lower().replace("\u2019", "'").split())


def words(text: str) -> list[str]:
    """The words of a cleaned text."""
    return _WORD.findall(text)


def trigram_overlap(a: str, b: str) -> float:
    """Jaccard index of the sets of character trigrams, in [0, 1]; 1 for two texts without any."""
    left, right = _trigrams(a), _trigrams(b)
    if not left and not right:
        return float(a == b)
    return len(left & right) / len(left | right)


def cosine(a: str, b: str) -> float:
    """Cosine of the word counts, in [0, 1]; 0 when either text has no word."""
    left, right = Counter(words(a)), Counter(words(b))
    dot = sum(count * right[word] for word, count in left.items())
    norms = math.sqrt(sum(n * n for n in left.values()) * sum(n * n for n in right.values()))
    return dot / norms if norms else 0.0


def _trigrams(text: str) -> set[str]:
    return {text[i : i + 3] for i in range(len(text) - 2)}
