"""A scripted buyer for the bundled catalog that sees only what an agent sees.

`expert(messages)` buys what was asked for. `expert(messages, noise=..., seed=...)` makes mistakes a
policy can learn to leave out: too few search words, any item, no option. Both are pure functions.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from turngym.errors import DataError
from turngym.types import Message

__all__ = ["expert"]

_WISH = re.compile(
    r"Find me (?P<attributes>[^ ,]+(?:, [^ ,]+)*) (?P<kind>[^ ,]+)"
    r"(?: with (?P<options>.+?))?(?:, and price lower than (?P<limit>[\d.]+) dollars)?$"
)
_BRIEF_ITEM = re.compile(r"(?P<asin>b\d+) \$(?P<price>[\d.]+) (?P<title>.+)")
_TEXT_ITEM = re.compile(r"(?P<asin>B\d+) \[SEP\] (?P<title>.+?) \[SEP\] \$(?P<price>[\d.]+)")
_OPEN = re.compile(r"click\[b\d+\]")
_MAX_PAGES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    attributes: tuple[str, ...]
    kind: str
    options: tuple[str, ...]
    limit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    asin: str
    title: str
    price: float


def expert(messages: Sequence[Message], *, noise: float = 0.0, seed: int = 0) -> str:
    """The next action after `messages`, the whole conversation so far.

    Args:
        messages: from the first message of an episode; pages in the forms `brief` or `text`.
        noise: probability of a mistake at each choice; at 0.3 about half the purchases are right.
        seed: keys the mistakes, together with the number of actions so far.

    Raises:
        DataError: the instruction is not one of the bundled catalog's.
    """
    actions = [message.content for message in messages if message.role == "assistant"]
    rng = random.Random(f"{seed}/{len(actions)}")
    wish = _wish(messages)
    if not actions:
        words = [*wish.attributes, wish.kind]
        kept = words if rng.random() >= noise else words[rng.randint(1, 2) :]
        return f"search[{' '.join(kept)}]"
    items = _items(messages[-1].content)
    if items:
        return _choose(items, wish, actions, noise, rng)
    opened = max((n for n, action in enumerate(actions) if _OPEN.match(action)), default=-1)
    if opened < 0:  # nothing was found at all
        return "click[buy now]" if actions[-1].startswith("search") else f"search[{wish.kind}]"
    for number, option in enumerate(wish.options):
        if f"click[{option}]" not in actions[opened:] and not _skipped(number, noise, seed):
            return f"click[{option}]"
    return "click[buy now]"


def _choose(
    items: Sequence[_Item], wish: _Wish, actions: Sequence[str], noise: float, rng: random.Random
) -> str:
    if rng.random() < noise:
        return f"click[{rng.choice(items).asin}]"
    for item in items:
        words = item.title.lower().split()
        fits = all(word in words for word in (*wish.attributes, wish.kind))
        if fits and item.price <= wish.limit:
            return f"click[{item.asin}]"
    if actions.count("click[next >]") < _MAX_PAGES - 1:
        return "click[next >]"
    return f"click[{items[0].asin}]"


def _skipped(number: int, noise: float, seed: int) -> bool:
    return random.Random(f"{seed}/option/{number}").random() < noise


def _wish(messages: Sequence[Message]) -> _Wish:
    text = next(message.content for message in messages if message.role == "user")
    for part in text.split(" [SEP] "):
        match = _WISH.match(part)
        if match:
            options = (match["options"] or "").split(", and ")
            return _Wish(
                attributes=tuple(match["attributes"].split(", ")),
                kind=match["kind"],
                options=tuple(option.split(": ")[1] for option in options if option),
                limit=float(match["limit"] or "inf"),
            )
    raise DataError(
        f"the scripted buyer reads instructions like 'Find me cotton, linen shirt', got {text!r:.200}"
    )


def _items(page: str) -> list[_Item]:
    found = [*_BRIEF_ITEM.finditer(page), *_TEXT_ITEM.finditer(page)]
    return [
        _Item(asin=match["asin"].lower(), title=match["title"], price=float(match["price"]))
        for match in found
    ]
