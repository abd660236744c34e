"""Names for bundled worlds, apart by split: no person or title of a test task occurs in training."""

from __future__ import annotations

from turngym.envs.tool_use.tasks import Split

__all__ = ["DOCTORS", "NAMES", "TITLES"]

NAMES: dict[Split, tuple[str, ...]] = {
    "train": (
        "Ida Holm", "Omar Rey", "Lena Fox", "Ravi Nair", "Tess Boyd", "Juno Park",
        "Max Ode", "Nia Cole", "Ben Ruiz", "Eva Lind", "Sam Okoro", "Mia Hart",
    ),
    "dev": ("Paul Gray", "Rosa Diaz", "Hugo Berg", "Amy Stone"),
    "test": ("Karl Voss", "Uma Shah", "Dora Finch", "Leo Marsh"),
}  # fmt: skip
_FIRST = (
    "black", "blue", "brave", "bronze", "brown", "calm", "ceramic", "copper", "empty", "gold",
    "green", "grey", "last", "leather", "little", "lonely", "marble", "orange", "paper", "red",
    "silver", "sleeping", "walnut", "yellow",
)  # fmt: skip
_SECOND = (
    "autumn", "beach", "brother", "cello", "clock", "door", "drum", "father", "flute", "forest",
    "hallway", "kitchen", "lantern", "letter", "mirror", "morning", "mother", "piano", "queen",
    "school", "table", "town", "tree", "violin",
)  # fmt: skip


def _titles(places: range) -> tuple[str, ...]:
    """Every pair of words whose place, counted in sixes along both lists, is among `places`."""
    return tuple(
        f"The {first} {second}"
        for i, first in enumerate(_FIRST)
        for j, second in enumerate(_SECOND)
        if (i + j) % 6 in places
    )


TITLES: dict[Split, tuple[str, ...]] = {
    "train": _titles(range(2, 6)),
    "dev": _titles(range(1, 2)),
    "test": _titles(range(1)),
}
"""384, 96 and 96 titles: other pairs of the same words, so that titles must be read to be repeated."""
DOCTORS: dict[Split, tuple[str, ...]] = {
    "train": ("Okafor", "Meyer", "Tanaka", "Silva", "Novak", "Adler"),
    "dev": ("Brandt", "Costa", "Iyer"),
    "test": ("Quinn", "Haddad", "Lund"),
}
