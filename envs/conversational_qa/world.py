"""An invented world: people, towns and firms that exist nowhere else, and passages about them.

Nothing a language model has read helps here. Every entity belongs to one split and is related only
to entities of the same split, so that the entities of held-out questions are unseen in training.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from turngym.envs.conversational_qa.tasks import SPLITS, Split
from turngym.envs.retrieval.passages import Passage
from turngym.seeding import derive

__all__ = [
    "RELATIONS",
    "Entity",
    "Relation",
    "Voice",
    "World",
    "build_world",
    "relations_of",
    "state",
    "word",
]

Voice = Literal["plain", "terse"]
EntityKind = Literal["person", "town", "firm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A kind of fact, with its wording; {x} is the subject and {y} the object."""

    name: str
    subject: EntityKind
    target: EntityKind | tuple[str, ...]
    """Kind of the object, or the values that it is drawn from."""
    fact: str
    question: str
    phrase: str = ""
    """An object that is an entity as the subject of a longer question."""


_INSTRUMENTS = ("flute", "drum", "harp", "violin", "piano", "trumpet", "cello", "oboe")
_GOODS = ("lamps", "boats", "clocks", "tea", "paper", "glass", "bricks", "shoes")
_YEARS = tuple(str(year) for year in range(1210, 1930, 37))

RELATIONS: tuple[Relation, ...] = (
    Relation(
        name="home",
        subject="person",
        target="town",
        fact="{x} was born in {y}.",
        question="Where was {x} born?",
        phrase="the town where {x} was born",
    ),
    Relation(
        name="work",
        subject="person",
        target="firm",
        fact="{x} works for {y}.",
        question="Which firm does {x} work for?",
        phrase="the firm that {x} works for",
    ),
    Relation(
        name="music",
        subject="person",
        target=_INSTRUMENTS,
        fact="{x} plays the {y}.",
        question="Which instrument does {x} play?",
    ),
    Relation(
        name="mayor",
        subject="town",
        target="person",
        fact="The mayor of {x} is {y}.",
        question="Who is the mayor of {x}?",
        phrase="the mayor of {x}",
    ),
    Relation(
        name="year",
        subject="town",
        target=_YEARS,
        fact="{x} was founded in {y}.",
        question="When was {x} founded?",
    ),
    Relation(
        name="owner",
        subject="firm",
        target="person",
        fact="The owner of {x} is {y}.",
        question="Who is the owner of {x}?",
        phrase="the owner of {x}",
    ),
    Relation(
        name="seat",
        subject="firm",
        target="town",
        fact="{x} has its seat in {y}.",
        question="Where does {x} have its seat?",
        phrase="the town where {x} has its seat",
    ),
    Relation(
        name="goods",
        subject="firm",
        target=_GOODS,
        fact="{x} makes {y}.",
        question="What does {x} make?",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """Somebody or something, with what the passages say about it."""

    name: str
    kind: EntityKind
    split: Split
    facts: Mapping[str, str] = field(default_factory=dict)
    """Relation name to object; relations that are missing are told nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All entities by name, and one passage for each, whose id is the name."""

    entities: Mapping[str, Entity]
    passages: tuple[Passage, ...]


def relations_of(kind: EntityKind) -> tuple[Relation, ...]:
    """The relations whose subject is of this kind."""
    return tuple(relation for relation in RELATIONS if relation.subject == kind)


def word(path: Sequence[Relation], subject: str, voice: Voice) -> str:
    """The question that follows the relations of `path`, one after the other, from `subject`."""
    if voice == "terse":
        return f"{' of '.join(relation.name for relation in reversed(path))} of {subject}?"
    *inner, last = path
    for relation in inner:
        subject = relation.phrase.format(x=subject)
    text = last.question.format(x=subject)
    return text[0].upper() + text[1:]


def state(relation: Relation, subject: str, value: str, voice: Voice) -> str:
    """The sentence that tells a fact."""
    pattern = relation.fact if voice == "plain" else "{x} " + relation.name + " {y}."
    return pattern.format(x=subject, y=value)


def build_world(num_entities: int, seed: int, voice: Voice, gap: float) -> World:
    """A world that depends on nothing but the arguments.

    Args:
        num_entities: at least 45: the smallest split holds a fifth, with all kinds in it.
        seed: of names and facts.
        voice: `plain` English sentences, or `terse` ones for tiny models.
        gap: probability that a fact is told nowhere; every entity keeps one fact.
    """
    if num_entities < 45:
        raise ValueError(f"a world needs at least 45 entities, got {num_entities}")
    rng = random.Random(derive(seed, "world"))
    members = _members(_names(num_entities, voice, rng))
    entities = {}
    for (split, kind), names in members.items():
        for name in names:
            facts = _facts(name, kind, {k: members[split, k] for k in _KINDS}, gap, rng)
            entities[name] = Entity(name=name, kind=kind, split=split, facts=facts)
    return World(
        entities=entities,
        passages=tuple(_passage(entity, voice, rng) for entity in entities.values()),
    )


_KINDS: tuple[EntityKind, ...] = ("person", "town", "firm")
_SHARES: Mapping[Split, float] = {"train": 0.6, "dev": 0.2, "test": 0.2}
# Syllables that neither stemming nor stop words change when two or more are joined.
_CONSONANTS, _VOWELS = "bdfgklmnprtvz", "aiou"
# Terse names are pairs of common words, each of them one token to most tokenizers: what has to be
# copied is short, and a name that was never seen is made of words that were.
_FIRST = (
    "red green black blue purple orange yellow white brown grey silver gold copper bronze bamboo "
    "cotton linen leather marble oak walnut steel silk denim lemon wool vanilla old large small "
    "little heavy flat empty pink mesh"
).split()
_LAST = (
    "king queen brother sister father mother daughter friend baby boss dog beach bed book boot bowl "
    "car card city class door dress forest hall hand jacket kitchen lantern letter lock mirror "
    "morning mouse novel pillow quilt scarf school shelf shirt skirt soap stool summer table tray "
    "tree vase week"
).split()


def _names(count: int, voice: Voice, rng: random.Random) -> dict[Split, list[str]]:
    """Names of each split. Which split a name belongs to is the same in every world."""
    draw = _syllables if voice == "plain" else _words
    wanted = {split: round(share * count) for split, share in _SHARES.items()}
    wanted["test"] = count - wanted["train"] - wanted["dev"]
    names: dict[Split, dict[str, None]] = {split: {} for split in SPLITS}
    while any(len(names[split]) < wanted[split] for split in SPLITS):
        name = draw(rng, count)
        split = _split_of(name)
        if len(names[split]) < wanted[split]:
            names[split][name] = None
    return {split: list(found) for split, found in names.items()}


def _split_of(name: str) -> Split:
    place = derive("split", name) % 10
    return "train" if place < 6 else "dev" if place < 8 else "test"


def _syllables(rng: random.Random, count: int) -> str:
    return "".join(rng.choice(_CONSONANTS) + rng.choice(_VOWELS) for _ in range(3)).capitalize()


def _words(rng: random.Random, count: int) -> str:
    # Sorted, because a search does not tell the order of words.
    length = 1 if count <= len(_FIRST) * len(_LAST) * 3 // 4 else 2
    return " ".join([*sorted(rng.sample(_FIRST, length)), rng.choice(_LAST)])


def _members(names: Mapping[Split, list[str]]) -> dict[tuple[Split, EntityKind], tuple[str, ...]]:
    return {
        (split, kind): tuple(own[place :: len(_KINDS)])
        for split, own in names.items()
        for place, kind in enumerate(_KINDS)
    }


def _facts(
    name: str,
    kind: EntityKind,
    others: Mapping[EntityKind, tuple[str, ...]],
    gap: float,
    rng: random.Random,
) -> dict[str, str]:
    known = {}
    for relation in relations_of(kind):
        target = relation.target
        pool = target if isinstance(target, tuple) else others[target]
        known[relation.name] = rng.choice([other for other in pool if other != name])
    kept = {key: value for key, value in known.items() if rng.random() >= gap}
    if not kept:
        key = rng.choice(sorted(known))
        kept = {key: known[key]}
    return kept


def _passage(entity: Entity, voice: Voice, rng: random.Random) -> Passage:
    told = [relation for relation in relations_of(entity.kind) if relation.name in entity.facts]
    rng.shuffle(told)
    lines = [state(item, entity.name, entity.facts[item.name], voice) for item in told]
    return Passage(id=entity.name, title=entity.name, text=" ".join(lines))
