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
TITLES: dict[Split, tuple[str, ...]] = {
    "train": (
        "Salt Road", "The Red Kite", "Night Ferry", "Paper Moon", "Cold Harbor", "Ten Bells",
        "Glass Hill", "The Long Tide", "Iron Garden", "Second Rain", "Old Signals", "Blue Ash",
    ),
    "dev": ("Winter Map", "The Last Orchard", "Stone Choir", "Quiet Engine"),
    "test": ("Amber Gate", "The Ninth Wave", "Lost Meridian", "Crow Season"),
}  # fmt: skip
DOCTORS: dict[Split, tuple[str, ...]] = {
    "train": ("Okafor", "Meyer", "Tanaka", "Silva", "Novak", "Adler"),
    "dev": ("Brandt", "Costa", "Iyer"),
    "test": ("Quinn", "Haddad", "Lund"),
}
