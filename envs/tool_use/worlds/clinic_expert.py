"""What the clinic's scripted expert does with a request."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any

from turngym.envs.tool_use.expert import Action, Desk, Script, StuckError, agreed, use

__all__ = ["serve"]


def serve(text: str, desk: Desk) -> Script:
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
    raise StuckError


def _patient(desk: Desk) -> Generator[Action, str, dict[str, Any]]:
    """The patient's id and visits, looked up once."""
    if "patient" not in desk.known:
        answer = yield "In which year were you born?"
        year = re.search(r"\d{4}", answer)
        if not year:
            raise StuckError
        desk.known["patient"] = yield from use(
            "find_patient", name=desk.known["name"], born=int(year[0])
        )
    found: dict[str, Any] = desk.known["patient"]
    return found


def _slot(doctor: str, day: str) -> Generator[Action, str, dict[str, Any]]:
    """The doctor's free slot on a day."""
    slots = yield from use("free_slots", doctor=doctor)
    for slot in slots:
        if slot["day"] == day:
            return dict(slot)
    raise StuckError


def _book(doctor: str, day: str, desk: Desk) -> Script:
    patient = yield from _patient(desk)
    if any(visit["doctor"] == doctor for visit in patient["visits"]) and not desk.slips():
        return "Sorry, only one visit per doctor."
    while True:
        slot = yield from _slot(doctor, day)
        question = f"Dr {doctor} on {day} at {slot['hour']}:00. Shall I book it?"
        answer = yield from agreed(question, desk)
        other = re.search(r"[Mm]ake it (\w+)", answer)
        if not other:
            break
        day = other[1]
    if "yes" not in answer.lower():
        return "All right."
    yield from use("book", patient=patient["patient"], slot=slot["slot"])
    desk.known["hour"] = slot["hour"]
    return f"Booked for {day}."


def _visit(doctor: str, desk: Desk) -> Generator[Action, str, dict[str, Any]]:
    """The patient's visit with a doctor."""
    patient = yield from _patient(desk)
    for visit in patient["visits"]:
        if visit["doctor"] == doctor:
            return {**visit, "patient": patient["patient"]}
    raise StuckError


def _cancel(doctor: str, desk: Desk) -> Script:
    visit = yield from _visit(doctor, desk)
    if visit["day"] == "Tue" and not desk.slips():
        return "Sorry, a visit tomorrow cannot be cancelled."
    answer = yield from agreed(f"Shall I cancel the visit on {visit['day']}?", desk)
    if "yes" not in answer.lower():
        return "All right."
    yield from use("cancel", patient=visit["patient"], slot=visit["slot"])
    return "Cancelled."


def _move(doctor: str, day: str, desk: Desk) -> Script:
    visit = yield from _visit(doctor, desk)
    slot = yield from _slot(doctor, day)
    answer = yield from agreed(f"Dr {doctor} on {day} at {slot['hour']}:00. Shall I move it?", desk)
    if "yes" not in answer.lower():
        return "All right."
    yield from use("cancel", patient=visit["patient"], slot=visit["slot"])
    yield from use("book", patient=visit["patient"], slot=slot["slot"])
    return "Moved."
