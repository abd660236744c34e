"""What the library's scripted expert does with a request."""

from __future__ import annotations

import re
from collections.abc import Generator

from turngym.envs.tool_use.expert import Action, Desk, Script, StuckError, use

__all__ = ["serve"]


def serve(text: str, desk: Desk) -> Script:
    card = re.search(r"card is (M\d+)", text)
    if card:
        desk.known["card"] = card[1]
    if wish := re.search(r"borrow ([^.]+)\.", text):
        return (yield from _lend(wish[1], desk))
    if wish := re.search(r"renew ([^.]+)\.", text):
        return (yield from _renew(wish[1], desk))
    if wish := re.search(r"reserve ([^.]+) for me", text):
        member = yield from _card(desk)
        found = yield from use("find_book", title=wish[1])
        yield from use("reserve", card=member, book=found["book"])
        return "Reserved."
    if wish := re.search(r"I return ([^.]+)\.", text):
        found = yield from use("find_book", title=wish[1])
        yield from use("give_back", card=desk.known["card"], book=found["book"])
        return "Returned."
    if wish := re.search(r"Is (.+) in too", text):
        found = yield from use("find_book", title=wish[1])
        return "It is out." if "out" in found["is"] and not desk.slips() else "It is in."
    if "owe" in text:
        member = yield from use("find_member", card=desk.known["card"])
        return f"You owe {member['fee']} euro." if member["fee"] else "You owe nothing."
    raise StuckError


def _card(desk: Desk) -> Generator[Action, str, str]:
    """The card number, asked for if it is not known yet."""
    if "card" not in desk.known:
        answer = yield "What is your card?"
        found = re.search(r"M\d+", answer)
        if not found:
            raise StuckError
        desk.known["card"] = found[0]
    return str(desk.known["card"])


def _lend(title: str, desk: Desk) -> Script:
    card = yield from _card(desk)
    member = yield from use("find_member", card=card)
    found = yield from use("find_book", title=title)
    if "out" in found["is"]:
        if desk.slips():
            return f"{title} is out."
        answer = yield f"{title} is out. Shall I reserve it?"
        other = re.search(r"borrow ([^.]+)\.", answer)
        if not other:
            return "All right."
        found = yield from use("find_book", title=other[1])
    if member["fee"] > 5 and not desk.slips():
        answer = yield f"You owe {member['fee']} euro. Shall I charge it?"
        if "yes" not in answer.lower():
            return "Then I cannot lend it."
        yield from use("pay", card=card, amount=member["fee"])
    yield from use("lend", card=card, book=found["book"])
    return "Lent."


def _renew(title: str, desk: Desk) -> Script:
    found = yield from use("find_book", title=title)
    if {"reserved", "renewed"}.intersection(found["is"]) and not desk.slips():
        return "Sorry, it cannot be renewed."
    card = yield from _card(desk)
    yield from use("renew", card=card, book=found["book"])
    return "Renewed."
