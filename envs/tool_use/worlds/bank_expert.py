"""What the bank's scripted expert does with a request."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any

from turngym.envs.tool_use.expert import Action, Desk, Script, StuckError, agreed, use

__all__ = ["serve"]

_SORRY = "Sorry, I cannot do that."


def serve(text: str, desk: Desk) -> Script:
    if name := re.search(r"I am ([^.]+)\.", text):
        desk.known["name"] = name[1]
    customer = yield from _customer(desk)
    accounts, (card, *_) = customer["accounts"], customer["cards"]
    if wish := re.search(r"on my (\w+) account", text):
        found = yield from use("account", account=accounts[wish[1]])
        return f"It is {found['balance']} euro."
    if wish := re.search(r"[Mm]ove (\d+) euro (?:more )?from (\w+) to (\w+)", text):
        source, target = accounts[wish[2]], accounts[wish[3]]
        return (yield from _transfer(source, target, int(wish[1]), desk))
    if wish := re.search(r"send money to (\w+)", text):
        answer = yield "How much do you want to send?"
        if not (amount := re.search(r"\d+", answer)):
            raise StuckError
        target = customer["payees"][wish[1]]
        return (yield from _transfer(accounts["checking"], target, int(amount[0]), desk))
    if wish := re.search(r"Send (\d+) euro to account (\w+)", text):
        own = {*accounts.values(), *customer["payees"].values()}
        if wish[2] not in own and not desk.slips():
            return _SORRY
        return (yield from _transfer(accounts["checking"], wish[2], int(wish[1]), desk))
    if wish := re.search(r"card limit to (\d+)", text):
        return (yield from _limit(card, int(wish[1]), desk))
    if "lost my card" in text:
        yield from use("block_card", card=card)
        return "Blocked."
    if "new one" in text:
        yield from use("order_card", card=card)
        return "It is on its way."
    if "Unblock" in text and desk.slips():
        yield from use("unblock_card", card=card)
        return "Unblocked."
    return _SORRY


def _customer(desk: Desk) -> Generator[Action, str, dict[str, Any]]:
    """The customer's accounts, cards and payees, verified once."""
    if "customer" not in desk.known:
        answer = yield "What is your code word?"
        word = re.search(r"word is (\w+)", answer)
        if not word:
            raise StuckError
        desk.known["customer"] = yield from use("verify", name=desk.known["name"], word=word[1])
    found: dict[str, Any] = desk.known["customer"]
    return found


def _transfer(source: str, target: str, amount: int, desk: Desk) -> Script:
    giving = yield from use("account", account=source)
    if giving["kind"] == "savings" and giving["out"] and not desk.slips():
        return _SORRY
    answer = yield from agreed(f"{amount} euro. Shall I transfer it?", desk)
    if "yes" not in answer.lower():
        return "All right."
    yield from use("transfer", source=source, target=target, amount=amount)
    return f"{amount} euro are on their way."


def _limit(card: str, limit: int, desk: Desk) -> Script:
    if limit > 2000 and not desk.slips():
        return _SORRY
    while True:
        answer = yield from agreed(f"A limit of {limit} euro. Shall I set it?", desk)
        other = re.search(r"[Mm]ake it (\d+)", answer)
        if not other:
            break
        limit = int(other[1])
    if "yes" not in answer.lower():
        return "All right."
    yield from use("set_limit", card=card, limit=limit)
    return "Set."
