"""What the hotel's scripted expert does with a request."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any

from turngym.envs.tool_use.expert import Action, Desk, Script, StuckError, agreed, use

__all__ = ["serve"]

_SORRY = "Sorry, that is not possible."


def serve(text: str, desk: Desk) -> Script:
    booking = yield from _booking(desk)
    code = desk.known["code"]
    if "bill" in text:
        total = yield from use("bill", code=code)
        return f"It is {total['total']} euro."
    if "sea view" in text:
        return (yield from _sea_view(code, desk))
    if wish := re.search(r"add ([a-z-]+)\.|(late check-out)", text):
        return (yield from _extra(code, wish[1] or wish[2], booking, desk))
    saver = booking["tariff"] == "saver" and not desk.slips()
    if "ancel my booking" in text:
        if saver:
            return _SORRY
        answer = yield from agreed(f"Shall I cancel room {booking['room']}?", desk)
        if "yes" not in answer.lower():
            return "All right."
        yield from use("cancel_booking", code=code)
        return "Cancelled."
    if "one night" in text:
        nights = 1
    elif wish := re.search(r"for (\d+) nights", text):
        nights = int(wish[1])
    else:
        raise StuckError
    if saver and nights < booking["nights"]:
        return _SORRY
    return (yield from _stay(code, nights, desk))


def _booking(desk: Desk) -> Generator[Action, str, dict[str, Any]]:
    """The guest's booking as it is now, its code asked for if it is not known yet."""
    if "code" not in desk.known:
        answer = yield "What is your booking code?"
        found = re.search(r"H\d+", answer)
        if not found:
            raise StuckError
        desk.known["code"] = found[0]
    booking: dict[str, Any] = yield from use("find_booking", code=desk.known["code"])
    return booking


def _sea_view(code: str, desk: Desk) -> Script:
    rooms = yield from use("free_rooms", view="sea")
    if not rooms:
        return _SORRY
    room, rate = rooms[0]["room"], rooms[0]["rate"]
    answer = yield from agreed(f"Room {room} is {rate} euro a night. Shall I change it?", desk)
    if "yes" not in answer.lower():
        return "All right."
    yield from use("change_room", code=code, room=room)
    return "Changed."


def _extra(code: str, extra: str, booking: dict[str, Any], desk: Desk) -> Script:
    if extra == "late check-out" and booking["next"] and not desk.slips():
        return _SORRY
    added = yield from use("add_extra", code=code, extra=extra)
    return f"Added for {added['price']} euro."


def _stay(code: str, nights: int, desk: Desk) -> Script:
    while True:
        answer = yield from agreed(f"{nights} nights in all. Shall I set it?", desk)
        other = re.search(r"[Mm]ake it (\d+)", answer)
        if not other:
            break
        nights = int(other[1])
    if "yes" not in answer.lower():
        return "All right."
    yield from use("set_nights", code=code, nights=nights)
    return "Set."
