"""One visit to the shop as an immutable value, and what each action makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from turngym.envs.web_shop.catalog import Catalog, Goal, Product, Split
from turngym.envs.web_shop.search import Index

__all__ = [
    "SUB_PAGES",
    "Page",
    "Session",
    "Shop",
    "clickables",
    "labelled",
    "parse_action",
    "product",
    "shown",
    "sub_pages",
    "take",
]

Page = Literal["index", "results", "item", "sub", "done"]
SUB_PAGES = ("Description", "Features", "Reviews", "Attributes")
_MAX_HITS = 50
_ACTION = re.compile(r"(.+)\[(.+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A split's products and search engine, and how many of them a page shows."""

    products: Catalog
    index: Index
    page_size: int
    show_attributes: bool
    numbered: bool = False
    """Products on a page of results are shown with their place, from 1, and may be clicked by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Where the visitor stands. Products are numbers in the shop's catalog."""

    split: Split
    goal: Goal
    page: Page = "index"
    query: str = ""
    hits: tuple[int, ...] = ()
    """The products found, best first, at most 50."""
    page_number: int = 1
    product: int | None = None
    sub_page: str = ""
    options: tuple[tuple[str, str], ...] = ()
    """Chosen (name, value) pairs. They outlive a change of product only where the original keeps
    them: no search page was rendered in between."""
    visited: tuple[int, ...] = ()

    def __deepcopy__(self, memo: dict[int, Any]) -> Session:
        return self  # immutable all the way down, so that snapshots and forks cost nothing


def parse_action(text: str) -> tuple[str, str] | None:
    """(name, argument) of `name[argument]`, the argument in lower case; None for anything else.

    As in the original, text after the last bracket is ignored, and a `[` inside the argument moves
    the beginning of the argument to itself.
    """
    match = _ACTION.match(text.strip())
    return (match[1], match[2].lower()) if match else None


def clickables(shop: Shop, session: Session) -> dict[str, str]:
    """What `click[...]` takes on this page, each with its meaning.

    A meaning is `button`, `product N` or `option NAME`.
    """
    if session.page == "index" or session.page == "done":
        return {}
    buttons = {"back to search": "button"}
    if session.page == "results":
        if session.page_number > 1:
            buttons["< prev"] = "button"
        buttons["next >"] = "button"
        for label, number in labelled(shop, session):
            buttons[label] = buttons[shop.products[number].asin.lower()] = f"product {number}"
        return buttons
    buttons["< prev"] = "button"
    if session.page == "item":
        for name in sub_pages(shop):
            buttons[name.lower()] = "button"
        buttons["buy now"] = "button"
        for group in product(shop, session).options:
            for value in group.values:
                buttons[value] = f"option {group.name}"
    return buttons


def take(shop: Shop, session: Session, name: str, argument: str) -> Session | None:
    """The visit after an action; None when the action is not possible here."""
    if name == "search":
        return _search(shop, session, argument, 1)
    if name != "click":
        return None
    meaning = clickables(shop, session).get(argument)
    if meaning is None:
        return None
    kind, _, detail = meaning.partition(" ")
    if kind == "product":
        number = int(detail)
        visited = tuple(dict.fromkeys((*session.visited, number)))
        return replace(session, page="item", product=number, visited=visited)
    if kind == "option":
        options = tuple({**dict(session.options), detail: argument}.items())
        return replace(session, page="item", options=options)
    return _press(shop, session, argument)


def _press(shop: Shop, session: Session, button: str) -> Session:
    """The visit after one of the fixed buttons."""
    if button == "back to search":
        return Session(split=session.split, goal=session.goal)
    if button == "buy now":
        return replace(session, page="done")
    if button == "next >":
        return _search(shop, session, session.query, session.page_number + 1)
    if button == "< prev" and session.page == "results":
        return _search(shop, session, session.query, session.page_number - 1)
    if button == "< prev" and session.page == "item":
        return _search(shop, session, session.query, session.page_number)
    if button == "< prev":
        return replace(session, page="item", sub_page="")
    return replace(session, page="sub", sub_page=button.capitalize())


def _search(shop: Shop, session: Session, query: str, page_number: int) -> Session:
    """A results page; it forgets the open product and the chosen options."""
    return replace(
        session,
        page="results",
        query=query,
        hits=shop.index.search(query, _MAX_HITS),
        page_number=page_number,
        product=None,
        sub_page="",
        options=(),
    )


def shown(shop: Shop, session: Session) -> tuple[int, ...]:
    """The products on the current results page; none on a page past the last."""
    first = (session.page_number - 1) * shop.page_size
    return session.hits[first : first + shop.page_size]


def labelled(shop: Shop, session: Session) -> Iterator[tuple[str, int]]:
    """What to click for each product on the current results page, with the product."""
    for place, number in enumerate(shown(shop, session), start=1):
        yield str(place) if shop.numbered else shop.products[number].asin.lower(), number


def product(shop: Shop, session: Session) -> Product:
    """The product that is open."""
    assert session.product is not None
    return shop.products[session.product]


def sub_pages(shop: Shop) -> tuple[str, ...]:
    """Names of the pages behind a product page."""
    return SUB_PAGES if shop.show_attributes else SUB_PAGES[:3]
