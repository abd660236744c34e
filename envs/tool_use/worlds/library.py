"""A lending library: members, books, fees, reservations."""

from __future__ import annotations

import random
from typing import Annotated, Any

from pydantic import Field

from turngym.envs.tool_use.tasks import (
    Answer,
    Request,
    Split,
    Task,
    World,
    call,
    item,
    templates,
    weighted,
)
from turngym.envs.tool_use.tools import RefusedError, State, ToolBox, tool
from turngym.envs.tool_use.worlds.library_expert import serve
from turngym.envs.tool_use.worlds.parts import CLOSING_RULE, KEPT, REFUSED, record, says
from turngym.envs.tool_use.worlds.people import NAMES, TITLES
from turngym.rewards.tool_checklist import ChecklistItem
from turngym.rewards.tool_steps import Called, Changed
from turngym.types import ToolCall

__all__ = ["LIBRARY", "find_book", "find_member", "give_back", "lend", "pay", "renew", "reserve"]

Card = Annotated[str, Field(description="Library card, such as M123.")]
Book = Annotated[str, Field(description="Book id, such as B12.")]


@tool()
def find_member(state: State, card: Card) -> dict[str, Any]:
    """The open fee in euros and the loans of a member."""
    member = _member(state, card)
    loans = [book for book, row in state["books"].items() if row["borrower"] == card]
    return {"fee": member["fee"], "loans": loans}


@tool()
def find_book(
    state: State, title: Annotated[str, Field(description="Title; case does not matter.")]
) -> dict[str, Any]:
    """The id of a book and what applies to it: out, reserved by a member, renewed already."""
    for book, row in state["books"].items():
        if row["title"].lower() == title.lower():
            flags = {
                "out": row["borrower"] is not None,
                "reserved": row["reserved"] is not None,
                "renewed": row["renewed"],
            }
            return {"book": book, "is": [flag for flag, applies in flags.items() if applies]}
    raise RefusedError(f"no book is called {title[:80]!r}")


@tool(writes=True)
def lend(state: State, card: Card, book: Book) -> str:
    """Lend a book that is in to a member."""
    _member(state, card)
    row = _book(state, book)
    if row["borrower"] is not None:
        raise RefusedError(f"{book} is out")
    row["borrower"] = card
    return "lent"


@tool(writes=True)
def give_back(state: State, card: Card, book: Book) -> str:
    """Take a book back from the member who has it."""
    row = _lent_to(state, card, book)
    row["borrower"], row["renewed"] = None, False
    return "returned"


@tool(writes=True)
def renew(state: State, card: Card, book: Book) -> str:
    """Let the member keep a book for longer."""
    _lent_to(state, card, book)["renewed"] = True
    return "renewed"


@tool(writes=True)
def reserve(state: State, card: Card, book: Book) -> str:
    """Keep a book for a member once it comes back."""
    _member(state, card)
    row = _book(state, book)
    if row["reserved"] is not None:
        raise RefusedError(f"{book} is reserved already")
    row["reserved"] = card
    return "reserved"


@tool(writes=True)
def pay(
    state: State, card: Card, amount: Annotated[int, Field(description="Euros.", ge=1)]
) -> dict[str, int]:
    """Charge a member's open fee, or a part of it."""
    member = _member(state, card)
    if amount > member["fee"]:
        raise RefusedError(f"the open fee is only {member['fee']}")
    member["fee"] -= amount
    return {"fee": member["fee"]}


def _member(state: State, card: str) -> dict[str, Any]:
    return record(state, "members", card, "card")


def _book(state: State, book: str) -> dict[str, Any]:
    return record(state, "books", book, "book")


def _lent_to(state: State, card: str, book: str) -> dict[str, Any]:
    row = _book(state, book)
    if row["borrower"] != card:
        raise RefusedError(f"{card[:80]} does not have {book}")
    return row


class _Scene:
    """One member who matters, another one, and three books, all drawn from one split."""

    def __init__(self, rng: random.Random, split: Split, fee: int) -> None:
        name, other = rng.sample(NAMES[split], 2)
        first, second = rng.sample(range(100, 1000), 2)
        self.card, self.other = f"M{first}", f"M{second}"
        self.titles = tuple(rng.sample(TITLES[split], 3))
        self.books = tuple(f"B{number}" for number in rng.sample(range(10, 100), 3))
        self.state: State = {
            "members": {
                self.card: {"name": name, "fee": fee},
                self.other: {"name": other, "fee": rng.randrange(4)},
            },
            "books": {
                book: {"title": title, "borrower": None, "reserved": None, "renewed": False}
                for book, title in zip(self.books, self.titles, strict=True)
            },
        }

    def book(self, place: int) -> dict[str, Any]:
        """The record of a book, to set the scene."""
        found: dict[str, Any] = self.state["books"][self.books[place]]
        return found

    def found(self) -> ChecklistItem:
        """The item that the member is looked up."""
        return item(
            "member",
            "Does the agent look up the member's card?",
            Called(name="find_member", arguments={"card": self.card}),
        )

    def looked(self, place: int) -> ChecklistItem:
        """The item that a book is looked up; not strict, for an agent may know it already."""
        return item(
            f"book{place}",
            "Does the agent look the book up?",
            Called(name="find_book", arguments={"title": self.titles[place]}),
            strict=False,
        )

    def holds(self, place: int, key: str, value: Any, *, after: str = "") -> ChecklistItem:
        """The item that a book's record comes to hold a value."""
        return item(
            f"{key}{place}",
            f"Is {key} of the book set right?",
            Changed(path=f"/books/{self.books[place]}/{key}", value=value),
            after=(after,) if after else (),
        )

    def lending(self, place: int) -> ToolCall:
        return call("lend", card=self.card, book=self.books[place])

    @property
    def tells_card(self) -> Answer:
        return Answer(cues=("card",), says=f"My card is {self.card}.")


_OUT = ("is out", "not in", "on loan", "not available")


def _lend(rng: random.Random, split: Split) -> Task:
    scene = _Scene(rng, split, fee=rng.randrange(5))
    scene.book(1)["borrower"] = scene.other
    wants = Request(
        opening=f"I want to borrow {scene.titles[0]}.",
        answers=(scene.tells_card,),
        items=weighted(
            scene.found(), scene.looked(0), scene.holds(0, "borrower", scene.card, after="member")
        ),
    )
    asks = Request(
        opening=f"Is {scene.titles[1]} in too?",
        items=weighted(
            scene.looked(1), says("told", "Does the agent say that it is out?", *_OUT), KEPT
        ),
    )
    return Task(
        split=split,
        state=scene.state,
        requests=(wants, asks),
        gold_calls=(scene.lending(0),),
    )


def _refuse(rng: random.Random, split: Split) -> Task:
    """A renewal that the policy forbids, though the tool would do it; then a reservation."""
    scene = _Scene(rng, split, fee=rng.randrange(5))
    scene.book(0)["borrower"] = scene.card
    if rng.random() < 0.5:
        scene.book(0)["reserved"] = scene.other
    else:
        scene.book(0)["renewed"] = True
    scene.book(1)["borrower"] = scene.other
    wants = Request(
        opening=f"Please renew {scene.titles[0]}.",
        answers=(scene.tells_card,),
        items=weighted(scene.looked(0), REFUSED, KEPT),
    )
    then = Request(
        opening=f"Then reserve {scene.titles[1]} for me.",
        answers=(scene.tells_card,),
        items=weighted(scene.looked(1), scene.holds(1, "reserved", scene.card)),
    )
    reserving = call("reserve", card=scene.card, book=scene.books[1])
    return Task(split=split, state=scene.state, requests=(wants, then), gold_calls=(reserving,))


def _renew(rng: random.Random, split: Split) -> Task:
    fee = rng.randrange(1, 6)
    scene = _Scene(rng, split, fee=fee)
    scene.book(0)["borrower"] = scene.book(1)["borrower"] = scene.card
    requests = (
        Request(
            opening=f"Please renew {scene.titles[0]}. My card is {scene.card}.",
            items=weighted(scene.looked(0), scene.holds(0, "renewed", True, after="book0")),
        ),
        Request(
            opening=f"I return {scene.titles[1]}.",
            items=weighted(scene.looked(1), scene.holds(1, "borrower", None)),
        ),
        Request(
            opening="What do I owe?",
            items=weighted(says("fee", "Does the agent tell the fee?", f"{fee} euro")),
        ),
    )
    gold = (
        call("renew", card=scene.card, book=scene.books[0]),
        call("give_back", card=scene.card, book=scene.books[1]),
    )
    return Task(
        split=split,
        state=scene.state,
        requests=requests,
        gold_calls=gold,
        outputs=(f"{fee} euro",),
    )


def _fee(rng: random.Random, split: Split) -> Task:
    """A fee that must be paid first, with the user's consent."""
    fee = rng.randrange(6, 20)
    scene = _Scene(rng, split, fee=fee)
    wants = Request(
        opening=f"I want to borrow {scene.titles[0]}. My card is {scene.card}.",
        answers=(Answer(cues=(f"{fee}",), says="Yes, take it."),),
        items=weighted(
            scene.found(),
            says("asked", "Does the agent tell the fee before it is paid?", f"{fee} euro"),
            item(
                "paid",
                "Is the fee paid?",
                Changed(path=f"/members/{scene.card}/fee", value=0),
                after=("member",),
            ),
            scene.holds(0, "borrower", scene.card, after="paid"),
        ),
    )
    thanks = Request(
        opening="Do I owe anything else?",
        items=weighted(says("nothing", "Does the agent say no?", "nothing", "no fee")),
    )
    gold = (call("pay", card=scene.card, amount=fee), scene.lending(0))
    return Task(
        split=split,
        state=scene.state,
        requests=(wants, thanks),
        gold_calls=gold,
        outputs=(f"{fee} euro",),
    )


def _change(rng: random.Random, split: Split) -> Task:
    """The book is out; offered a reservation, the user takes another book instead."""
    scene = _Scene(rng, split, fee=rng.randrange(5))
    scene.book(0)["borrower"] = scene.other
    wants = Request(
        opening=f"I want to borrow {scene.titles[0]}.",
        answers=(
            scene.tells_card,
            Answer(
                cues=("reserve",),
                says=f"No, I changed my mind. I want to borrow {scene.titles[1]}.",
            ),
        ),
        items=weighted(
            scene.found(),
            scene.looked(0),
            says("told", "Does the agent say that it is out?", *_OUT),
            scene.holds(1, "borrower", scene.card, after="member"),
        ),
    )
    return Task(split=split, state=scene.state, requests=(wants,), gold_calls=(scene.lending(1),))


LIBRARY = World(
    name="library",
    policy=(
        "You serve members of a lending library. Ask for the library card before you do anything "
        "for a member, and look up the member before you lend. Members who owe more than 5 euros "
        "borrow nothing until they have paid: tell the fee in euros and ask before you charge it. A "
        "book that is reserved by another member, or was renewed already, cannot be renewed. If a "
        "book is out, say that it is out and ask whether to reserve it. " + CLOSING_RULE
    ),
    brief=(
        "Library. Ask the card. Do not renew what is reserved or renewed. If out, offer to reserve."
    ),
    toolbox=ToolBox((find_member, find_book, lend, give_back, renew, reserve, pay)),
    templates=templates(_lend, _refuse, _renew, _fee, _change),
    serve=serve,
    brief_templates=("lend", "refuse", "change"),
)
