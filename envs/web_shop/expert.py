"""A scripted buyer that sees only what an agent sees.

`expert(messages)` buys what was asked for; on the bundled catalog it is always right. With
`noise=..., seed=...` it makes mistakes that a policy can learn to leave out: too few search words, any
item, no option. Both are pure functions.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from turngym.types import Message

__all__ = ["expert"]

_LIMIT = re.compile(r", and price lower than ([\d.]+) dollars")
_OPTIONS = re.compile(r" with ((?:[^:]+: [^:]+?)(?:, and [^:]+: [^:]+?)*)$")
_BRIEF_ITEM = re.compile(
    r"^(?P<label>\S+) \$(?P<price>[\d.]+)(?: to \$[\d.]+)? (?P<title>.+)$", re.MULTILINE
)
_TEXT_ITEM = re.compile(
    r"\[SEP\] (?P<label>\w+) \[SEP\] (?P<title>(?:(?! \[SEP\] ).)+) \[SEP\] \$(?P<price>[\d.]+)"
)
_SEPARATOR = " [SEP] "


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    words: tuple[str, ...]
    options: tuple[str, ...]
    limit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    label: str
    """What to click for it."""
    price: float
    words: frozenset[str]


def expert(messages: Sequence[Message], *, noise: float = 0.0, seed: int = 0) -> str:
    """The next action after `messages`, the whole conversation so far.

    Args:
        messages: from the first message of an episode; pages in the forms `brief` or `text`.
        noise: probability of a mistake at each choice; at 0.3 about half the purchases are right.
        seed: keys the mistakes, together with the number of actions so far.
    """
    actions = sum(message.role == "assistant" for message in messages)
    rng = random.Random(f"{seed}/{actions}")
    wish = _read_wish(messages)
    if not actions:
        few = rng.random() < noise and len(wish.words) > 1
        words = wish.words[rng.randrange(1, len(wish.words)) :] if few else wish.words
        return f"search[{' '.join(words)}]"
    since = _since_results(messages)
    if not since:  # nothing was found at all; a single word may find something
        return f"search[{wish.words[actions % len(wish.words)]}]"
    if len(since) == 1:
        return _choose(_read_items(since[0].content), wish, noise, rng)
    done = {message.content for message in since if message.role == "assistant"}
    for number, option in enumerate(wish.options):
        skipped = random.Random(f"{seed}/option/{number}").random() < noise
        if option in since[2].content and f"click[{option}]" not in done and not skipped:
            return f"click[{option}]"
    return "click[buy now]"


def _choose(items: Sequence[_Item], wish: _Wish, noise: float, rng: random.Random) -> str:
    """The affordable item with the most wished words; the next page if one with more is too dear."""
    if rng.random() < noise:
        return f"click[{rng.choice(items).label}]"
    best = max(items, key=lambda item: (_shared(item, wish), item.price <= wish.limit))
    return f"click[{best.label}]" if best.price <= wish.limit else "click[next >]"


def _shared(item: _Item, wish: _Wish) -> int:
    return len(item.words & set(wish.words))


def _since_results(messages: Sequence[Message]) -> Sequence[Message]:
    """The last page with results and what followed it."""
    for start in range(len(messages) - 1, -1, -1):
        if messages[start].role == "user" and _read_items(messages[start].content):
            return messages[start:]
    return ()


def _read_wish(messages: Sequence[Message]) -> _Wish:
    page = next(message.content for message in messages if message.role == "user")
    text = page.split(_SEPARATOR)[2] if page.count(_SEPARATOR) == 3 else page
    limit = _LIMIT.search(text)
    wish = _LIMIT.sub("", text)
    options = _OPTIONS.search(wish)
    named = options[1].split(", and ") if options else []
    return _Wish(
        words=_words(_OPTIONS.sub("", wish).removeprefix("Find me ")) or ("anything",),
        options=tuple(option.split(": ")[1] for option in named),
        limit=float(limit[1]) if limit else float("inf"),
    )


def _read_items(page: str) -> list[_Item]:
    found = [*_BRIEF_ITEM.finditer(page), *_TEXT_ITEM.finditer(page)]
    return [
        _Item(
            label=match["label"].lower(),
            price=float(match["price"]),
            words=frozenset(_words(match["title"])),
        )
        for match in found
    ]


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[^\W_]+", text.lower()))
