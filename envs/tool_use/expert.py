"""Scripted experts of the bundled worlds. They see what an agent sees and are always right.

A script is a generator: it yields a call or words and is sent the answer. `next_action` runs it
through the conversation so far, which makes the expert a pure function of the messages.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from turngym.types import Message, ToolCall

__all__ = ["Action", "next_action"]

Action = ToolCall | str
Script = Generator[Action, str, Any]
_SORRY = "Sorry, I cannot do that."


class _StuckError(Exception):
    """The script does not know what to do."""


@dataclass(slots=True, kw_only=True)
class _Desk:
    """What the script has learnt so far, and its slips."""

    rng: random.Random
    noise: float
    known: dict[str, Any] = field(default_factory=dict)

    def slips(self) -> bool:
        """Whether to make a mistake at this choice."""
        return self.rng.random() < self.noise


def next_action(
    world: str, messages: Sequence[Message], *, noise: float = 0.0, seed: int = 0
) -> Action:
    """The next call or words after `messages`, the whole conversation so far.

    Args:
        world: name of a bundled world.
        messages: from the first message of an episode.
        noise: probability of a mistake at each choice.
        seed: keys the mistakes.
    """
    heard = _observations(messages)
    desk = _Desk(rng=random.Random(seed), noise=noise)
    script = _serve(_REQUESTS[world], heard[0], desk)
    action = next(script)
    for text in heard[1:]:
        action = script.send(text)
    return action


def _observations(messages: Sequence[Message]) -> list[str]:
    """What came before the first reply, and after each: a tool's result or the user's words."""
    heard: list[str] = []
    new: list[Message] = []
    for message in messages:
        if message.role == "assistant":
            heard.append(new[-1].content if new else "")
            new = []
        else:
            new.append(message)
    return [*heard, new[-1].content if new else ""]


def _serve(
    request: Callable[[str, _Desk], Script], text: str, desk: _Desk
) -> Generator[Action, str, None]:
    """Serve one request after the other, for ever."""
    while True:
        try:
            reply = yield from request(text, desk)
        except (_StuckError, KeyError):
            reply = _SORRY
        text = yield reply


def _use(name: str, /, **arguments: Any) -> Generator[Action, str, Any]:
    """Call a tool and read its result."""
    text = yield ToolCall(id="call_0", name=name, arguments=arguments)
    try:
        result = json.loads(text)
    except ValueError as error:
        raise _StuckError from error
    if isinstance(result, dict) and "error_tool_call" in result:
        raise _StuckError
    return result


def _library(text: str, desk: _Desk) -> Script:
    card = re.search(r"card is (M\d+)", text)
    if card:
        desk.known["card"] = card[1]
    if wish := re.search(r"borrow ([^.]+)\.", text):
        return (yield from _lend(wish[1], desk))
    if wish := re.search(r"renew ([^.]+)\.", text):
        return (yield from _renew(wish[1], desk))
    if wish := re.search(r"reserve ([^.]+) for me", text):
        member = yield from _card(desk)
        found = yield from _use("find_book", title=wish[1])
        yield from _use("reserve", card=member, book=found["book"])
        return "Reserved."
    if wish := re.search(r"I return ([^.]+)\.", text):
        found = yield from _use("find_book", title=wish[1])
        yield from _use("give_back", card=desk.known["card"], book=found["book"])
        return "Returned."
    if wish := re.search(r"Is (.+) in too", text):
        found = yield from _use("find_book", title=wish[1])
        return "It is out." if "out" in found["is"] and not desk.slips() else "It is in."
    if "owe" in text:
        member = yield from _use("find_member", card=desk.known["card"])
        return f"You owe {member['fee']} euro." if member["fee"] else "You owe nothing."
    raise _StuckError


def _card(desk: _Desk) -> Generator[Action, str, str]:
    """The card number, asked for if it is not known yet."""
    if "card" not in desk.known:
        answer = yield "What is your card?"
        found = re.search(r"M\d+", answer)
        if not found:
            raise _StuckError
        desk.known["card"] = found[0]
    return str(desk.known["card"])


def _lend(title: str, desk: _Desk) -> Script:
    card = yield from _card(desk)
    member = yield from _use("find_member", card=card)
    found = yield from _use("find_book", title=title)
    if "out" in found["is"]:
        if desk.slips():
            return f"{title} is out."
        answer = yield f"{title} is out. Shall I reserve it?"
        other = re.search(r"borrow ([^.]+)\.", answer)
        if not other:
            return "All right."
        found = yield from _use("find_book", title=other[1])
    if member["fee"] > 5 and not desk.slips():
        answer = yield f"You owe {member['fee']} euro. Shall I charge it?"
        if "yes" not in answer.lower():
            return "Then I cannot lend it."
        yield from _use("pay", card=card, amount=member["fee"])
    yield from _use("lend", card=card, book=found["book"])
    return "Lent."


def _renew(title: str, desk: _Desk) -> Script:
    found = yield from _use("find_book", title=title)
    if {"reserved", "renewed"}.intersection(found["is"]) and not desk.slips():
        return "Sorry, it cannot be renewed."
    card = yield from _card(desk)
    yield from _use("renew", card=card, book=found["book"])
    return "Renewed."


def _clinic(text: str, desk: _Desk) -> Script:
    name = re.search(r"I am ([^.]+)\.", text)
    if name:
        desk.known["name"] = name[1]
    if wish := re.search(r"[Bb]ook me with Dr (\w+) on (\w+)", text):
        return (yield from _book(wish[1], wish[2], desk))
    if wish := re.search(r"[Cc]ancel my visit with Dr (\w+)", text):
        return (yield from _cancel(wish[1], desk))
    if wish := re.search(r"Move my visit with Dr (\w+) to (\w+)", text):
        return (yield from _move(wish[1], wish[2], desk))
    if "what time" in text:
        return f"It is at {desk.known['hour']}:00."
    raise _StuckError


def _patient(desk: _Desk) -> Generator[Action, str, dict[str, Any]]:
    """The patient's id and visits, looked up once."""
    if "patient" not in desk.known:
        answer = yield "In which year were you born?"
        year = re.search(r"\d{4}", answer)
        if not year:
            raise _StuckError
        desk.known["patient"] = yield from _use(
            "find_patient", name=desk.known["name"], born=int(year[0])
        )
    found: dict[str, Any] = desk.known["patient"]
    return found


def _agreed(question: str, desk: _Desk) -> Generator[Action, str, str]:
    """The user's answer to a question before something is written."""
    if desk.slips():
        return "yes"
    return (yield question)


def _slot(doctor: str, day: str) -> Generator[Action, str, dict[str, Any]]:
    """The doctor's free slot on a day."""
    slots = yield from _use("free_slots", doctor=doctor)
    for slot in slots:
        if slot["day"] == day:
            return dict(slot)
    raise _StuckError


def _book(doctor: str, day: str, desk: _Desk) -> Script:
    patient = yield from _patient(desk)
    if any(visit["doctor"] == doctor for visit in patient["visits"]) and not desk.slips():
        return "Sorry, only one visit per doctor."
    while True:
        slot = yield from _slot(doctor, day)
        question = f"Dr {doctor} on {day} at {slot['hour']}:00. Shall I book it?"
        answer = yield from _agreed(question, desk)
        other = re.search(r"[Mm]ake it (\w+)", answer)
        if not other:
            break
        day = other[1]
    if "yes" not in answer.lower():
        return "All right."
    yield from _use("book", patient=patient["patient"], slot=slot["slot"])
    desk.known["hour"] = slot["hour"]
    return f"Booked for {day}."


def _visit(doctor: str, desk: _Desk) -> Generator[Action, str, dict[str, Any]]:
    """The patient's visit with a doctor."""
    patient = yield from _patient(desk)
    for visit in patient["visits"]:
        if visit["doctor"] == doctor:
            return {**visit, "patient": patient["patient"]}
    raise _StuckError


def _cancel(doctor: str, desk: _Desk) -> Script:
    visit = yield from _visit(doctor, desk)
    if visit["day"] == "Tue" and not desk.slips():
        return "Sorry, a visit tomorrow cannot be cancelled."
    answer = yield from _agreed(f"Shall I cancel the visit on {visit['day']}?", desk)
    if "yes" not in answer.lower():
        return "All right."
    yield from _use("cancel", patient=visit["patient"], slot=visit["slot"])
    return "Cancelled."


def _move(doctor: str, day: str, desk: _Desk) -> Script:
    visit = yield from _visit(doctor, desk)
    slot = yield from _slot(doctor, day)
    answer = yield from _agreed(
        f"Dr {doctor} on {day} at {slot['hour']}:00. Shall I move it?", desk
    )
    if "yes" not in answer.lower():
        return "All right."
    yield from _use("cancel", patient=visit["patient"], slot=visit["slot"])
    yield from _use("book", patient=visit["patient"], slot=slot["slot"])
    return "Moved."


_REQUESTS: dict[str, Callable[[str, _Desk], Script]] = {"library": _library, "clinic": _clinic}
