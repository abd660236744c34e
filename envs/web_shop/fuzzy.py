"""How alike two short texts are, as `thefuzz` counts it: integers from 0 to 100.

`thefuzz` wraps rapidfuzz, whose wheel would take the base install over its size limit; the tests
compare this file with it.
"""

import functools

__all__ = ["token_set_ratio"]

_DROPPED = dict.fromkeys(range(128, 256))
"""thefuzz means to keep ASCII only, and drops the Latin-1 letters alone: 'café' becomes 'caf'."""


@functools.lru_cache(maxsize=65536)
def token_set_ratio(left: str, right: str) -> int:
    """Likeness of the two sets of words, 0 to 100; 100 when one contains the other.

    Only letters and digits count, and case does not; 0 when either text has no word.
    """
    words, others = set(_words(left)), set(_words(right))
    if not words or not others:
        return 0
    common = " ".join(sorted(words & others))
    rest, other_rest = sorted(words - others), sorted(others - words)
    if common and not (rest and other_rest):
        return 100
    full = " ".join(filter(None, [common, *rest]))
    other_full = " ".join(filter(None, [common, *other_rest]))
    best = _ratio(full, other_full)
    if common:
        best = max(best, _ratio(common, full), _ratio(common, other_full))
    return round(best)


def _words(text: str) -> list[str]:
    kept = text.translate(_DROPPED).lower()
    return "".join(letter if letter.isalnum() else " " for letter in kept).split()


def _ratio(left: str, right: str) -> float:
    """100 * 2 * LCS / (len + len): the normalised insertion-deletion similarity."""
    return 200.0 * _common_subsequence(left, right) / (len(left) + len(right))


def _common_subsequence(left: str, right: str) -> int:
    """Length of the longest common subsequence, one big-integer operation per letter of `right`.

    Hyyro's bit-vector recurrence: a zero bit in `row` marks a letter of `left` in the subsequence.
    """
    positions: dict[str, int] = {}
    for index, letter in enumerate(left):
        positions[letter] = positions.get(letter, 0) | (1 << index)
    mask = (1 << len(left)) - 1
    row = mask
    for letter in right:
        hits = row & positions.get(letter, 0)
        row = ((row + hits) | (row - hits)) & mask
    return len(left) - row.bit_count()
