"""A bank's telephone desk: accounts, transfers, cards and their limits."""

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
from turngym.envs.tool_use.worlds.bank_expert import serve
from turngym.envs.tool_use.worlds.parts import (
    CLOSING_RULE,
    KEPT,
    REFUSED,
    YES,
    YES_CUES,
    record,
    says,
)
from turngym.envs.tool_use.worlds.people import NAMES
from turngym.rewards.tool_checklist import ChecklistItem
from turngym.rewards.tool_steps import Called, Changed
from turngym.types import ToolCall

__all__ = [
    "BANK",
    "account",
    "block_card",
    "order_card",
    "set_limit",
    "transfer",
    "unblock_card",
    "verify",
]

WORDS = ("acorn", "basil", "cedar", "dune", "ember", "fjord", "grove", "heron")
Account = Annotated[str, Field(description="Account id, such as A123.")]
Card = Annotated[str, Field(description="Card id, such as K12.")]
Euros = Annotated[int, Field(description="Whole euros.", ge=1)]


@tool()
def verify(state: State, name: str, word: str) -> dict[str, Any]:
    """A customer by name and code word: the accounts by kind, the card, and the saved payees."""
    for customer, row in state["customers"].items():
        if row["name"].lower() == name.lower() and row["word"] == word.lower():
            mine = {a["kind"]: k for k, a in state["accounts"].items() if a["owner"] == customer}
            cards = [k for k, each in state["cards"].items() if each["owner"] == customer]
            return {"customer": customer, "accounts": mine, "cards": cards, "payees": row["payees"]}
    raise RefusedError("name and code word do not belong together")


@tool()
def account(state: State, account: Account) -> dict[str, Any]:
    """Kind and balance of an account, and how often money left it this month."""
    row = record(state, "accounts", account, "account")
    return {"kind": row["kind"], "balance": row["balance"], "out": row["out"]}


@tool(writes=True)
def transfer(state: State, source: Account, target: Account, amount: Euros) -> dict[str, int]:
    """Move money from one account to another; gives what is left on the first."""
    giving, taking = (record(state, "accounts", key, "account") for key in (source, target))
    if amount > giving["balance"]:
        raise RefusedError(f"{source} holds only {giving['balance']} euro")
    giving["balance"] -= amount
    giving["out"] += 1
    taking["balance"] += amount
    return {"balance": giving["balance"]}


@tool(writes=True)
def block_card(state: State, card: Card) -> str:
    """Block a card, so that nobody can pay with it."""
    record(state, "cards", card, "card")["blocked"] = True
    return "blocked"


@tool(writes=True)
def unblock_card(state: State, card: Card) -> str:
    """Let a blocked card be used again."""
    record(state, "cards", card, "card")["blocked"] = False
    return "unblocked"


@tool(writes=True)
def order_card(state: State, card: Card) -> str:
    """Send the owner of a card a new one in its place."""
    record(state, "cards", card, "card")["replaced"] = True
    return "ordered"


@tool(writes=True)
def set_limit(state: State, card: Card, limit: Euros) -> str:
    """Set what may be paid with a card in a week."""
    record(state, "cards", card, "card")["limit"] = limit
    return "set"


class _Scene:
    """A customer with two accounts and a card, a saved payee, and a stranger."""

    def __init__(self, rng: random.Random, split: Split) -> None:
        self.name, friend, stranger = rng.sample(NAMES[split], 3)
        self.friend, self.stranger = friend.split()[0], stranger.split()[0]
        self.word, *words = rng.sample(WORDS, 3)
        ids = [f"A{number}" for number in rng.sample(range(100, 1000), 4)]
        self.checking, self.savings, self.theirs, self.foreign = ids
        self.card, other = (f"K{number}" for number in rng.sample(range(10, 100), 2))
        self.balance, self.saved = 10 * rng.randrange(60, 100), 10 * rng.randrange(100, 200)
        self.state: State = {
            "customers": {
                "C1": _customer(self.name, self.word, {self.friend: self.theirs}),
                "C2": _customer(friend, words[0], {}),
                "C3": _customer(stranger, words[1], {}),
            },
            "accounts": {
                self.checking: _account("C1", "checking", self.balance),
                self.savings: _account("C1", "savings", self.saved),
                self.theirs: _account("C2", "checking", 10 * rng.randrange(20, 80)),
                self.foreign: _account("C3", "checking", 10 * rng.randrange(20, 80)),
            },
            "cards": {self.card: _card("C1"), other: _card("C2")},
        }

    def found(self) -> ChecklistItem:
        """The item that the customer is verified."""
        check = Called(name="verify", arguments={"name": self.name, "word": self.word})
        return item("customer", "Does the agent verify the customer?", check)

    def moves(self, id: str, account: str, balance: int) -> ChecklistItem:
        """The item that an account comes to hold a balance."""
        check = Changed(path=f"/accounts/{account}/balance", value=balance)
        return item(id, "Is the right account's balance right?", check)

    def card_holds(self, key: str, value: Any) -> ChecklistItem:
        """The item that the card comes to hold a value."""
        check = Changed(path=f"/cards/{self.card}/{key}", value=value)
        return item(key, f"Is {key} of the card set right?", check)

    def moving(self, source: str, target: str, amount: int) -> ToolCall:
        return call("transfer", source=source, target=target, amount=amount)

    def asks_balance(self, kind: str, balance: int) -> Request:
        told = says("told", "Does the agent tell the balance?", f"{balance} euro")
        opening = f"How much is on my {kind} account?"
        return Request(opening=opening, answers=(self.tells_word,), items=weighted(told))

    def to_checking(self, amount: int) -> Request:
        """A transfer out of savings, allowed once a month."""
        return Request(
            opening=f"Move {amount} euro from savings to checking.",
            answers=(self.tells_word, YES),
            items=weighted(
                _named(amount), self.moves("moved", self.checking, self.balance + amount)
            ),
        )

    @property
    def hello(self) -> str:
        return f"I am {self.name}."

    @property
    def tells_word(self) -> Answer:
        return Answer(cues=("code word",), says=f"My code word is {self.word}.")


def _customer(name: str, word: str, payees: dict[str, str]) -> dict[str, Any]:
    return {"name": name, "word": word, "payees": payees}


def _account(owner: str, kind: str, balance: int) -> dict[str, Any]:
    return {"owner": owner, "kind": kind, "balance": balance, "out": 0}


def _card(owner: str) -> dict[str, Any]:
    return {"owner": owner, "blocked": False, "replaced": False, "limit": 500}


def _named(amount: int) -> ChecklistItem:
    return says("asked", "Does the agent name the amount?", f"{amount} euro")


def _send(rng: random.Random, split: Split) -> Task:
    """Money to a saved payee, the amount not said at first; then the balance."""
    scene, amount = _Scene(rng, split), 10 * rng.randrange(2, 30)
    left = scene.balance - amount
    wants = Request(
        opening=f"{scene.hello} I want to send money to {scene.friend}.",
        answers=(
            scene.tells_word,
            Answer(cues=("how much", "amount"), says=f"{amount} euro."),
            YES,
        ),
        items=weighted(scene.found(), _named(amount), scene.moves("sent", scene.checking, left)),
    )
    gold = (scene.moving(scene.checking, scene.theirs, amount),)
    requests = (wants, scene.asks_balance("checking", left))
    return _task(split, scene, requests, gold, f"{left} euro")


def _stranger(rng: random.Random, split: Split) -> Task:
    """Money to somebody who is no saved payee, which the policy forbids; then to the own savings."""
    scene, amount = _Scene(rng, split), 10 * rng.randrange(2, 30)
    wants = Request(
        opening=f"{scene.hello} Send {amount} euro to account {scene.foreign}.",
        answers=(scene.tells_word, YES),
        items=weighted(scene.found(), REFUSED, KEPT),
    )
    then = Request(
        opening=f"Then move {amount} euro from checking to savings.",
        answers=(YES,),
        items=weighted(_named(amount), scene.moves("moved", scene.savings, scene.saved + amount)),
    )
    gold = (scene.moving(scene.checking, scene.savings, amount),)
    return _task(split, scene, (wants, then), gold)


def _lost(rng: random.Random, split: Split) -> Task:
    """A lost card is blocked and replaced; found again, it stays blocked."""
    scene = _Scene(rng, split)
    lost = Request(
        opening=f"{scene.hello} I lost my card.",
        answers=(scene.tells_word, YES),
        items=weighted(scene.found(), scene.card_holds("blocked", True)),
    )
    new = Request(
        opening="Please send me a new one.",
        answers=(YES,),
        items=weighted(scene.card_holds("replaced", True)),
    )
    back = Request(
        opening="I found the old one. Unblock it.", answers=(YES,), items=weighted(REFUSED, KEPT)
    )
    gold = (call("block_card", card=scene.card), call("order_card", card=scene.card))
    return _task(split, scene, (lost, new, back), gold)


def _limit(rng: random.Random, split: Split) -> Task:
    """A limit above 2000, which the policy forbids; a lower one, with a change of mind."""
    scene = _Scene(rng, split)
    high, low, lower = rng.randrange(21, 40) * 100, 1500, rng.randrange(7, 14) * 100
    wants = Request(
        opening=f"{scene.hello} Set my card limit to {high} euro.",
        answers=(scene.tells_word, YES),
        items=weighted(scene.found(), REFUSED, KEPT),
    )
    change = Answer(cues=YES_CUES, says=f"No, I changed my mind. Make it {lower} euro.")
    then = Request(
        opening=f"Then set my card limit to {low} euro.",
        answers=(change, YES),
        items=weighted(_named(lower), scene.card_holds("limit", lower)),
    )
    gold = (call("set_limit", card=scene.card, limit=lower),)
    return _task(split, scene, (wants, then), gold)


def _month(rng: random.Random, split: Split) -> Task:
    """Savings give money once a month; what is left is told."""
    scene, amount = _Scene(rng, split), 10 * rng.randrange(2, 30)
    first = scene.asks_balance("savings", scene.saved)
    again = Request(
        opening="Move 50 euro more from savings to checking.",
        answers=(YES,),
        items=weighted(REFUSED, KEPT),
    )
    left = scene.saved - amount
    requests = (
        Request(opening=f"{scene.hello} {first.opening}", answers=first.answers, items=first.items),
        scene.to_checking(amount),
        again,
        scene.asks_balance("savings", left),
    )
    gold = (scene.moving(scene.savings, scene.checking, amount),)
    return _task(split, scene, requests, gold, f"{left} euro")


def _task(
    split: Split,
    scene: _Scene,
    requests: tuple[Request, ...],
    gold: tuple[ToolCall, ...],
    *outputs: str,
) -> Task:
    return Task(split=split, state=scene.state, requests=requests, gold_calls=gold, outputs=outputs)


BANK = World(
    name="bank",
    policy=(
        "You are the telephone desk of a bank. Verify the customer by name and code word before you "
        "do anything; ask for what is missing. Amounts are in euros and are told with the word euro. "
        "Before you transfer money or set a limit, name the amount and ask the customer to confirm. "
        "Money goes to accounts of the customer and to saved payees, to nobody else. A savings "
        "account gives money once a month. A card limit is at most 2000 euro. A card reported lost "
        "is blocked at once and never unblocked. " + CLOSING_RULE
    ),
    brief=(
        "Bank. Ask the code word. Name the amount and ask to confirm. Own accounts and payees only. "
        "Savings give once a month. Limit 2000. Lost cards stay blocked."
    ),
    toolbox=ToolBox((verify, account, transfer, block_card, unblock_card, order_card, set_limit)),
    templates=templates(_send, _stranger, _lost, _limit, _month),
    serve=serve,
)
