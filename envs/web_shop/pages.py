"""What a page says, as text made straight from product data.

`text` and `text_rich` are the two text forms of the original. `brief` is ours: one line for each
product, and after a choice only what changed, for small models with short contexts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from turngym.envs.web_shop.catalog import Product
from turngym.envs.web_shop.session import Session, Shop, labelled, product, shown, sub_pages

__all__ = ["Observation", "render"]

Observation = Literal["text", "text_rich", "brief"]


@dataclass(frozen=True, slots=True)
class _Bit:
    """A visible piece of a page."""

    text: str
    kind: Literal["plain", "button", "option", "product"] = "plain"
    clicked: bool = False


def render(
    shop: Shop, session: Session, form: Observation, title_words: int | None, score: float
) -> str:
    """The page of `session` as text.

    Args:
        title_words: titles are cut to so many words; None keeps them whole.
        score: shown on the last page only.
    """
    if form == "brief":
        return _brief(shop, session, title_words, score)
    bits = list(_bits(shop, session, title_words, score))
    if form == "text":
        return " [SEP] ".join(bit.text.strip() for bit in bits)
    chosen = [
        f"You have clicked {bit.text}.\n" for bit in bits if bit.kind == "option" and bit.clicked
    ]
    return "".join(reversed(chosen)) + "".join(_rich(bit) + "\n" for bit in bits)


def _cut(title: str, words: int | None) -> str:
    """The first `words` words of a title."""
    return title if words is None else " ".join(title.split()[:words])


def _rich(bit: _Bit) -> str:
    if bit.kind == "plain":
        return bit.text
    mark = "clicked button" if bit.clicked else "button"
    lead = {"button": "", "option": "  ", "product": "\n"}[bit.kind]
    return f"{lead}[{mark}] {bit.text} [{mark}_]"


def _bits(shop: Shop, session: Session, words: int | None, score: float) -> Iterator[_Bit]:
    if session.page == "done":
        yield from map(_Bit, ("Thank you for shopping with us!", "Your score (min 0.0, max 1.0)"))
        yield _Bit(str(score))
        return
    if session.page == "index":
        yield _Bit("WebShop")
    yield _Bit("Instruction:")
    yield _Bit(session.goal.instruction)
    if session.page == "index":
        yield _Bit("Search", "button")
        return
    yield _Bit("Back to Search", "button")
    if session.page == "results":
        yield from _results(shop, session, words)
        return
    yield _Bit("< Prev", "button")
    item = product(shop, session)
    if session.page == "sub":
        yield from map(_Bit, _SUB_PAGES[session.sub_page](item))
    else:
        yield from _item(shop, item, session, words)


def _results(shop: Shop, session: Session, words: int | None) -> Iterator[_Bit]:
    yield _Bit(f"Page {session.page_number} (Total results: {len(session.hits)})")
    if session.page_number > 1:
        yield _Bit("< Prev", "button")
    yield _Bit("Next >", "button")
    for number in shown(shop, session):
        item = shop.products[number]
        yield _Bit(item.asin, "product", number in session.visited)
        yield _Bit(_cut(item.title, words))
        yield _Bit(item.price_text)


def _item(shop: Shop, item: Product, session: Session, words: int | None) -> Iterator[_Bit]:
    chosen = {value for _, value in session.options}
    for group in item.options:
        yield _Bit(group.name)
        for value in group.values:
            yield _Bit(value, "option", value in chosen)
    yield _Bit(_cut(item.title, words))
    yield _Bit(f"Price: {item.price_text}")
    yield _Bit(f"Rating: {item.rating}")
    for name in sub_pages(shop):
        yield _Bit(name, "button")
    yield _Bit("Buy Now", "button")


def _reviews(item: Product) -> list[str]:
    if not item.reviews:
        return ["No reviews found"]
    return [text for r in item.reviews for text in (f'"{r.title}"', r.score, r.body)]


_SUB_PAGES: dict[str, Callable[[Product], list[str]]] = {
    "Description": lambda item: [item.description],
    "Features": lambda item: list(item.bullets) or ["No Features"],
    "Reviews": _reviews,
    "Attributes": lambda item: [*item.attributes, item.category, item.query, item.product_category],
}


def _brief(shop: Shop, session: Session, words: int | None, score: float) -> str:
    if session.page == "done":
        return f"score {score:.2f}"
    if session.page == "index":
        return session.goal.instruction
    if session.page == "results":
        lines = [
            f"{label} {shop.products[number].price_text} "
            + _cut(shop.products[number].title, words)
            for label, number in labelled(shop, session)
        ]
        return "\n".join(lines or ["no results"])
    item = product(shop, session)
    if session.page == "sub":
        return "\n".join(_SUB_PAGES[session.sub_page](item))
    if session.options:
        return "chosen: " + ", ".join(value for _, value in session.options)
    groups = [f"{group.name}: {', '.join(group.values)}" for group in item.options]
    return "\n".join([*groups, "buy now"])
