"""Who the simulated people are, and the seeded generator of the bundled ones."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from turngym.envs.emotional_support.situations import SITUATIONS, Situation
from turngym.errors import UnknownNameError

__all__ = ["Intent", "Profile", "Script", "bundled", "find", "needs_of", "split_of"]


class Intent(StrEnum):
    """What the person hopes for and does not say; the eight hidden themes of SAGE."""

    LISTEN = "listen"
    EMPATHY = "empathy"
    PRAISE = "praise"
    REFLECT = "reflect"
    ADVICE = "advice"
    NO_FAULT = "no_fault"
    MOTIVES = "motives"
    BOTH_SIDES = "both_sides"


WISHES = {
    Intent.LISTEN: "You want somebody to listen while you let it all out.",
    Intent.EMPATHY: "You want somebody to feel with you deeply, not to console you cheaply.",
    Intent.PRAISE: "You want honest praise for something definite that you did.",
    Intent.REFLECT: "You want to be led to look at yourself and to learn from this.",
    Intent.ADVICE: "You want advice that really helps with your present trouble.",
    Intent.NO_FAULT: "You believe that you are not to blame and want to hear it from others.",
    Intent.MOTIVES: "You want to understand why the other person acted like that.",
    Intent.BOTH_SIDES: "You want somebody to weigh the sides of the matter with you.",
}

# Which of C.1 C.2 C.3 A.1 A.2 A.3 P.1 P.2 P.3 such a wish makes pressing (level 3).
PRESSING = {
    Intent.LISTEN: (4, 5),
    Intent.EMPATHY: (3, 4),
    Intent.PRAISE: (6, 7),
    Intent.REFLECT: (0, 2),
    Intent.ADVICE: (7, 8),
    Intent.NO_FAULT: (4, 7),
    Intent.MOTIVES: (1, 2),
    Intent.BOTH_SIDES: (0, 1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What the rule-based user needs; people loaded from files have none."""

    situation: Situation
    feeling: str
    """Name of a feeling family."""
    trigger: str
    """What this person cannot bear: a feature of `features.Features`."""
    manner: str
    """`plain`, `curt` or `chatty`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One simulated person."""

    id: str
    persona: str
    situation: str
    wish: str
    """The hidden intent in words."""
    intent: Intent
    language: str = "en"
    opening: str | None = None
    """A fixed first message; None lets the simulated user choose its words."""
    deficit_levels: tuple[int, ...] = (2,) * 9
    """Levels 0 to 3 of the nine EMPA indicators."""
    script: Script | None = None
    split: str | None = None
    """Where the source says that it belongs; None decides by `split_of`."""


NAMES = (
    "Ada", "Ben", "Carla", "Dmitri", "Elif", "Femi", "Greta", "Hugo", "Ines", "Jonas",
    "Kavya", "Liam", "Mei", "Noor", "Olga", "Pablo", "Quinn", "Rosa", "Sami", "Tess",
)  # fmt: skip
WORK = (
    "a bus driver", "a nurse", "a student", "a carpenter", "a bookkeeper", "a cook",
    "a translator", "a warehouse worker", "a gardener", "a lab assistant",
)  # fmt: skip
TRAITS = {
    "advice": "hates to be told what to do before having been heard",
    "dismissal": "has been told to be less sensitive all through childhood",
    "empty_comfort": "cannot stand cheap consolation",
    "self_talk": "is used to others turning every talk to themselves",
}
MANNERS = {
    "plain": "speaks plainly",
    "curt": "says little and hides what matters",
    "chatty": "talks a lot once at ease",
}
VARIANTS = 2


@functools.cache
def bundled() -> tuple[Profile, ...]:
    """The 320 bundled people: 20 situations x 8 intents x 2 variants, the same in every process."""
    return tuple(
        _make(situation, intent, variant)
        for situation in SITUATIONS
        for intent in Intent
        for variant in range(VARIANTS)
    )


def find(id: str) -> Profile:
    """The bundled person with this id.

    Raises:
        UnknownNameError: there is none; the message names the closest.
    """
    by_id = {profile.id: profile for profile in bundled()}
    if id not in by_id:
        raise UnknownNameError("profile", id, by_id)
    return by_id[id]


def split_of(id: str) -> str:
    """`train` (70 %), `dev` (10 %) or `test` (20 %), from a hash of the id alone."""
    share = int.from_bytes(hashlib.sha256(id.encode()).digest()[:4], "big") / 2**32
    return "train" if share < 0.7 else "dev" if share < 0.8 else "test"


def needs_of(intent: Intent, rng: np.random.Generator | None = None) -> tuple[int, ...]:
    """Nine EMPA indicator levels: what the intent makes pressing is 3, the rest 1 (or 1 to 2)."""
    levels = [1 if rng is None else int(rng.integers(1, 3)) for _ in range(9)]
    for index in PRESSING[intent]:
        levels[index] = 3
    return tuple(levels)


def _make(situation: Situation, intent: Intent, variant: int) -> Profile:
    id = f"{situation.key}/{intent}/{variant}"
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(id.encode()).digest()[:8], "big"))
    name, work = NAMES[rng.integers(len(NAMES))], WORK[rng.integers(len(WORK))]
    age = int(rng.integers(19, 64))
    # Somebody who wants advice does not hate being advised.
    possible = [trait for trait in TRAITS if (trait, intent) != ("advice", Intent.ADVICE)]
    trigger = possible[rng.integers(len(possible))]
    manner = tuple(MANNERS)[rng.integers(len(MANNERS))]
    feeling = situation.feelings[variant % len(situation.feelings)]
    facts = " ".join((situation.event, *situation.details, f"I {situation.deed}."))
    return Profile(
        id=id,
        persona=f"{name}, {age}, {work}. {name} {MANNERS[manner]} and {TRAITS[trigger]}.",
        situation=f"{facts} What {name} feels above all: {feeling}.",
        wish=WISHES[intent],
        intent=intent,
        deficit_levels=needs_of(intent, rng),
        script=Script(situation=situation, feeling=feeling, trigger=trigger, manner=manner),
    )
