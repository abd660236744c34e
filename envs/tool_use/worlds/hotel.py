"""A hotel's front desk: bookings, rooms, extras, bills."""

from __future__ import annotations

import random
from typing import Annotated, Any, Literal

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
from turngym.envs.tool_use.worlds.hotel_expert import serve
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
    "HOTEL",
    "add_extra",
    "bill",
    "cancel_booking",
    "change_room",
    "find_booking",
    "free_rooms",
    "set_nights",
]

PRICES = {"breakfast": 12, "parking": 15, "late check-out": 20}
Code = Annotated[str, Field(description="Booking code, such as H123.")]
Extra = Literal["breakfast", "parking", "late check-out"]


@tool()
def find_booking(state: State, code: Code) -> dict[str, Any]:
    """A booking: guest, room, nights, tariff (flex or saver), extras, and whether it was cancelled.

    `next` says whether the room is taken by somebody else on the day of departure.
    """
    row = _booking(state, code)
    return {**row, "next": state["rooms"][row["room"]]["next"]}


@tool()
def free_rooms(state: State, view: Literal["sea", "yard"]) -> list[dict[str, Any]]:
    """The free rooms with a view, each with its rate in euros a night."""
    return [
        {"room": room, "rate": row["rate"]}
        for room, row in state["rooms"].items()
        if row["view"] == view and row["free"]
    ]


@tool()
def bill(state: State, code: Code) -> dict[str, int]:
    """The whole price of a booking in euros: nights at the room's rate, extras each once."""
    row = _booking(state, code)
    rate = state["rooms"][row["room"]]["rate"]
    return {"total": row["nights"] * rate + sum(PRICES[extra] for extra in row["extras"])}


@tool(writes=True)
def change_room(state: State, code: Code, room: str) -> str:
    """Move a booking into a free room."""
    row, wanted = _booking(state, code), record(state, "rooms", room, "room")
    if not wanted["free"]:
        raise RefusedError(f"room {room} is not free")
    state["rooms"][row["room"]]["free"] = True
    wanted["free"] = False
    row["room"] = room
    return "changed"


@tool(writes=True)
def set_nights(state: State, code: Code, nights: Annotated[int, Field(ge=1, le=30)]) -> str:
    """Make a booking last another number of nights."""
    _booking(state, code)["nights"] = nights
    return "set"


@tool(writes=True)
def add_extra(state: State, code: Code, extra: Extra) -> dict[str, int]:
    """Add an extra to a booking; gives its price in euros."""
    row = _booking(state, code)
    if extra in row["extras"]:
        raise RefusedError(f"{code} has {extra} already")
    row["extras"].append(extra)
    return {"price": PRICES[extra]}


@tool(writes=True)
def cancel_booking(state: State, code: Code) -> str:
    """Cancel a booking; its room is free again."""
    row = _booking(state, code)
    row["cancelled"] = True
    state["rooms"][row["room"]]["free"] = True
    return "cancelled"


def _booking(state: State, code: str) -> dict[str, Any]:
    row = record(state, "bookings", code, "booking")
    if row["cancelled"]:
        raise RefusedError(f"booking {code} is cancelled")
    return row


class _Scene:
    """A guest and another one, each in a yard room; one free room with sea view and one to the yard."""

    def __init__(self, rng: random.Random, split: Split, tariff: str = "flex") -> None:
        name, other = rng.sample(NAMES[split], 2)
        mine, theirs = rng.sample(range(100, 1000), 2)
        self.code, self.other = f"H{mine}", f"H{theirs}"
        self.rooms = tuple(str(number) for number in rng.sample(range(101, 400), 4))
        rates = (*rng.sample(range(70, 100), 2), rng.randrange(110, 150), rng.randrange(60, 70))
        self.rates = dict(zip(self.rooms, rates, strict=True))
        self.sea = self.rooms[2]
        self.nights = rng.randrange(2, 6)
        self.state: State = {
            "bookings": {
                self.code: _row(name, self.rooms[0], self.nights, tariff),
                self.other: _row(other, self.rooms[1], rng.randrange(1, 6), "flex"),
            },
            "rooms": {
                room: {
                    "view": "sea" if room == self.sea else "yard",
                    "rate": self.rates[room],
                    "free": place > 1,
                    "next": False,
                }
                for place, room in enumerate(self.rooms)
            },
        }

    def taken_next(self) -> None:
        """Let somebody else have the guest's room on the day of departure."""
        self.state["rooms"][self.rooms[0]]["next"] = True

    def found(self) -> ChecklistItem:
        """The item that the booking is looked up."""
        check = Called(name="find_booking", arguments={"code": self.code})
        return item("booking", "Does the agent look the booking up?", check)

    def holds(self, id: str, key: str, value: Any) -> ChecklistItem:
        """The item that the booking comes to hold a value."""
        check = Changed(path=f"/bookings/{self.code}/{key}", value=value)
        return item(id, f"Is {key} of the booking set right?", check)

    def adding(self, extra: str) -> ToolCall:
        return call("add_extra", code=self.code, extra=extra)

    def wants_extra(self, extra: str, place: int = 0, opening: str = "") -> Request:
        """A request for an extra that is granted and whose price is told."""
        return Request(
            opening=opening or f"Please add {extra}.",
            answers=(self.tells_code, YES),
            items=weighted(
                self.holds("added", f"extras/{place}", extra),
                says("price", "Does the agent tell the price?", f"{PRICES[extra]} euro"),
            ),
        )

    def asks_bill(self, total: int) -> Request:
        told = says("total", "Does the agent tell the total?", f"{total} euro")
        return Request(opening="What is my bill?", answers=(self.tells_code,), items=weighted(told))

    @property
    def tells_code(self) -> Answer:
        return Answer(cues=("code",), says=f"My code is {self.code}.")


def _row(guest: str, room: str, nights: int, tariff: str) -> dict[str, Any]:
    return {
        "guest": guest,
        "room": room,
        "nights": nights,
        "tariff": tariff,
        "extras": [],
        "cancelled": False,
    }


def _sea(rng: random.Random, split: Split) -> Task:
    """A better room, whose rate must be told and agreed to; an extra; the bill."""
    scene = _Scene(rng, split)
    rate = scene.rates[scene.sea]
    total = scene.nights * rate + PRICES["breakfast"]
    wants = Request(
        opening="I would like a room with sea view.",
        answers=(scene.tells_code, YES),
        items=weighted(
            scene.found(),
            says("rate", "Does the agent tell the new rate?", f"{rate} euro"),
            scene.holds("moved", "room", scene.sea),
        ),
    )
    requests = (wants, scene.wants_extra("breakfast"), scene.asks_bill(total))
    gold = (call("change_room", code=scene.code, room=scene.sea), scene.adding("breakfast"))
    return _task(split, scene, requests, gold, f"{total} euro")


def _saver(rng: random.Random, split: Split) -> Task:
    """A saver booking can be neither cancelled nor shortened; parking is no trouble."""
    scene = _Scene(rng, split, tariff="saver")
    cancel, shorten = "Please cancel my booking.", "Then make it one night."
    refused = weighted(scene.found(), REFUSED, KEPT)
    first = Request(opening=cancel, answers=(scene.tells_code, YES), items=refused)
    second = Request(opening=shorten, answers=(YES,), items=weighted(REFUSED, KEPT))
    requests = (first, second, scene.wants_extra("parking"))
    return _task(split, scene, requests, (scene.adding("parking"),), "15 euro")


def _longer(rng: random.Random, split: Split) -> Task:
    """More nights, with a change of mind when asked to confirm; then the bill."""
    scene = _Scene(rng, split)
    first, second = scene.nights + 2, scene.nights + 1
    total = second * scene.rates[scene.rooms[0]]
    change = f"No, I changed my mind. Make it {second} nights."
    wants = Request(
        opening=f"I want to stay for {first} nights in all.",
        answers=(scene.tells_code, Answer(cues=YES_CUES, says=change), YES),
        items=weighted(
            scene.found(),
            says("asked", "Does the agent name the nights?", f"{second} nights"),
            scene.holds("set", "nights", second),
        ),
    )
    gold = (call("set_nights", code=scene.code, nights=second),)
    return _task(split, scene, (wants, scene.asks_bill(total)), gold, f"{total} euro")


def _late(rng: random.Random, split: Split) -> Task:
    """Late check-out where the room is taken next, so refused; a free room; then it is possible."""
    scene = _Scene(rng, split)
    scene.taken_next()
    rate = scene.rates[scene.sea]
    refused = Request(
        opening="I would like late check-out.",
        answers=(scene.tells_code, YES),
        items=weighted(scene.found(), REFUSED, KEPT),
    )
    moved = Request(
        opening="Then give me a room with sea view.",
        answers=(YES,),
        items=weighted(
            says("rate", "Does the agent tell the new rate?", f"{rate} euro"),
            scene.holds("moved", "room", scene.sea),
        ),
    )
    again = scene.wants_extra("late check-out", opening="And late check-out now?")
    gold = (call("change_room", code=scene.code, room=scene.sea), scene.adding("late check-out"))
    return _task(split, scene, (refused, moved, again), gold, "20 euro")


def _leave(rng: random.Random, split: Split) -> Task:
    """Two extras, then everything is cancelled after all, as far as the guest confirms it."""
    scene = _Scene(rng, split)
    room = scene.rooms[0]
    requests = (
        scene.wants_extra("parking"),
        scene.wants_extra("breakfast", 1),
        Request(
            opening="Plans changed. Cancel my booking.",
            answers=(YES,),
            items=weighted(
                says("asked", "Does the agent name the room?", room),
                scene.holds("cancelled", "cancelled", True),
            ),
        ),
    )
    gold = (
        scene.adding("parking"),
        scene.adding("breakfast"),
        call("cancel_booking", code=scene.code),
    )
    return _task(split, scene, requests, gold, "12 euro")


def _task(
    split: Split,
    scene: _Scene,
    requests: tuple[Request, ...],
    gold: tuple[ToolCall, ...],
    *outputs: str,
) -> Task:
    return Task(split=split, state=scene.state, requests=requests, gold_calls=gold, outputs=outputs)


HOTEL = World(
    name="hotel",
    policy=(
        "You are the front desk of a hotel. Ask for the booking code and look the booking up before "
        "you do anything for a guest. Prices are in euros and are told with the word euro. Before you "
        "change a room, tell its rate a night; before you change a room, the nights, or cancel, name "
        "the room or the nights and ask the guest to confirm. When you add an extra, tell its price. "
        "A booking at the saver tariff is neither cancelled nor made shorter. There is no late "
        "check-out from a room that somebody else has next. " + CLOSING_RULE
    ),
    brief=(
        "Hotel. Ask the code. Tell the rate and ask to confirm before a change. Saver: no cancelling, "
        "no fewer nights. No late check-out if the room is taken next."
    ),
    toolbox=ToolBox(
        (find_booking, free_rooms, bill, change_room, set_nights, add_extra, cancel_booking)
    ),
    templates=templates(_sea, _saver, _longer, _late, _leave),
    serve=serve,
)
