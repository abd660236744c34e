"""A clinic's reception: patients, doctors' slots, visits."""

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
from turngym.envs.tool_use.worlds.clinic_expert import serve
from turngym.envs.tool_use.worlds.parts import (
    CLOSING_RULE,
    KEPT,
    REFUSED,
    YES,
    YES_CUES,
    record,
    says,
)
from turngym.envs.tool_use.worlds.people import DOCTORS, NAMES
from turngym.rewards.tool_checklist import ChecklistItem
from turngym.rewards.tool_steps import Called, Changed
from turngym.types import ToolCall

__all__ = ["CLINIC", "book", "cancel", "find_patient", "free_slots"]

DAYS = ("Wed", "Thu", "Fri")
Patient = Annotated[str, Field(description="Patient id, such as P123.")]
Slot = Annotated[str, Field(description="Slot id, such as S12.")]


@tool()
def find_patient(
    state: State, name: str, born: Annotated[int, Field(description="Year of birth.")]
) -> dict[str, Any]:
    """The id of a patient and the visits that are booked."""
    for patient, row in state["patients"].items():
        if row["name"].lower() == name.lower() and row["born"] == born:
            visits = [
                {"slot": slot, "doctor": each["doctor"], "day": each["day"]}
                for slot, each in state["slots"].items()
                if each["patient"] == patient
            ]
            return {"patient": patient, "visits": visits}
    raise RefusedError("no patient has this name and year of birth")


@tool()
def free_slots(state: State, doctor: str) -> list[dict[str, Any]]:
    """The free slots of a doctor."""
    found = [
        {"slot": slot, "day": row["day"], "hour": row["hour"]}
        for slot, row in state["slots"].items()
        if row["doctor"].lower() == doctor.lower() and row["patient"] is None
    ]
    if not found:
        raise RefusedError(f"there is no free slot with {doctor[:80]!r}")
    return found


@tool(writes=True)
def book(state: State, patient: Patient, slot: Slot) -> str:
    """Book a free slot for a patient."""
    record(state, "patients", patient, "patient")
    row = _slot(state, slot)
    if row["patient"] is not None:
        raise RefusedError(f"{slot} is taken")
    row["patient"] = patient
    return "booked"


@tool(writes=True)
def cancel(state: State, patient: Patient, slot: Slot) -> str:
    """Cancel a patient's visit."""
    row = _slot(state, slot)
    if row["patient"] is None or row["patient"] != patient:
        raise RefusedError(f"{patient[:80]} has no visit in {slot}")
    row["patient"] = None
    return "cancelled"


def _slot(state: State, slot: str) -> dict[str, Any]:
    return record(state, "slots", slot, "slot")


class _Scene:
    """A patient, another one, and two doctors with a slot on each day and one tomorrow."""

    def __init__(self, rng: random.Random, split: Split) -> None:
        self.name, other = rng.sample(NAMES[split], 2)
        self.born = rng.randrange(1940, 2005)
        self.first, self.second = rng.sample(DOCTORS[split], 2)
        mine, theirs = rng.sample(range(100, 1000), 2)
        self.patient, self.other = f"P{mine}", f"P{theirs}"
        self.state: State = {
            "today": "Mon",
            "patients": {
                self.patient: {"name": self.name, "born": self.born},
                self.other: {"name": other, "born": rng.randrange(1940, 2005)},
            },
            "slots": {},
        }
        numbers = iter(rng.sample(range(10, 100), 8))
        for doctor in (self.first, self.second):
            for day in ("Tue", *DAYS):
                self.state["slots"][f"S{next(numbers)}"] = {
                    "doctor": doctor,
                    "day": day,
                    "hour": rng.randrange(8, 17),
                    "patient": None,
                }

    def slot(self, doctor: str, day: str) -> str:
        """The id of the doctor's slot on a day."""
        rows = self.state["slots"].items()
        return next(str(s) for s, row in rows if row["doctor"] == doctor and row["day"] == day)

    def give(self, doctor: str, day: str) -> None:
        """Let the patient have a visit from the start."""
        self.state["slots"][self.slot(doctor, day)]["patient"] = self.patient

    def booking(self, doctor: str, day: str) -> ToolCall:
        return call("book", patient=self.patient, slot=self.slot(doctor, day))

    def cancelling(self, doctor: str, day: str) -> ToolCall:
        return call("cancel", patient=self.patient, slot=self.slot(doctor, day))

    def found(self) -> ChecklistItem:
        """The item that the patient is looked up by name and year of birth."""
        arguments = {"name": self.name, "born": self.born}
        check = Called(name="find_patient", arguments=arguments)
        return item("patient", "Does the agent look the patient up?", check)

    def looked(self, doctor: str) -> ChecklistItem:
        """The item that the doctor's free slots are looked up."""
        check = Called(name="free_slots", arguments={"doctor": doctor})
        return item("slots", "Does the agent look for free slots?", check, strict=False)

    def slot_held(self, id: str, doctor: str, day: str, by: str | None) -> ChecklistItem:
        """The item that a slot comes to be the patient's, or nobody's."""
        path = f"/slots/{self.slot(doctor, day)}/patient"
        return item(id, "Is the right slot written?", Changed(path=path, value=by))

    @property
    def tells_year(self) -> Answer:
        return Answer(cues=("born", "birth"), says=f"I was born in {self.born}.")


def _confirmed(day: str) -> ChecklistItem:
    """The item that the agent asks before it writes."""
    return says("asked", "Does the agent name the day?", day)


def _book(rng: random.Random, split: Split) -> Task:
    scene, day = _Scene(rng, split), rng.choice(DAYS)
    wants = Request(
        opening=f"I am {scene.name}. Book me with Dr {scene.first} on {day}.",
        answers=(scene.tells_year, YES),
        items=weighted(
            scene.found(),
            scene.looked(scene.first),
            _confirmed(day),
            scene.slot_held("booked", scene.first, day, scene.patient),
        ),
    )
    hour = scene.state["slots"][scene.slot(scene.first, day)]["hour"]
    when = Request(
        opening="At what time is it?",
        items=weighted(says("told", "Does the agent tell the time?", f"{hour}:00")),
    )
    return Task(
        split=split,
        state=scene.state,
        requests=(wants, when),
        gold_calls=(scene.booking(scene.first, day),),
        outputs=(f"{hour}:00",),
    )


def _change(rng: random.Random, split: Split) -> Task:
    """Asked to confirm, the user wants another day."""
    scene = _Scene(rng, split)
    day, other = rng.sample(DAYS, 2)
    wants = Request(
        opening=f"I am {scene.name}. Book me with Dr {scene.first} on {day}.",
        answers=(
            scene.tells_year,
            Answer(cues=YES_CUES, says=f"No, I changed my mind. Make it {other}."),
            YES,
        ),
        items=weighted(
            scene.found(),
            scene.looked(scene.first),
            _confirmed(other),
            scene.slot_held("booked", scene.first, other, scene.patient),
        ),
    )
    return Task(
        split=split,
        state=scene.state,
        requests=(wants,),
        gold_calls=(scene.booking(scene.first, other),),
    )


def _late(rng: random.Random, split: Split) -> Task:
    """A cancellation one day ahead, which the policy forbids; then one that it allows."""
    scene, day = _Scene(rng, split), rng.choice(DAYS)
    scene.give(scene.first, "Tue")
    scene.give(scene.second, day)
    wants = Request(
        opening=f"I am {scene.name}. Cancel my visit with Dr {scene.first}.",
        answers=(scene.tells_year, YES),
        items=weighted(scene.found(), REFUSED, KEPT),
    )
    then = Request(
        opening=f"Then cancel my visit with Dr {scene.second}.",
        answers=(scene.tells_year, YES),
        items=weighted(_confirmed(day), scene.slot_held("cancelled", scene.second, day, None)),
    )
    return Task(
        split=split,
        state=scene.state,
        requests=(wants, then),
        gold_calls=(scene.cancelling(scene.second, day),),
    )


def _move(rng: random.Random, split: Split) -> Task:
    scene = _Scene(rng, split)
    day, other = rng.sample(DAYS, 2)
    scene.give(scene.first, day)
    wants = Request(
        opening=f"I am {scene.name}. Move my visit with Dr {scene.first} to {other}.",
        answers=(scene.tells_year, YES),
        items=weighted(
            scene.found(),
            scene.looked(scene.first),
            _confirmed(other),
            scene.slot_held("cancelled", scene.first, day, None),
            scene.slot_held("booked", scene.first, other, scene.patient),
        ),
    )
    gold = (scene.cancelling(scene.first, day), scene.booking(scene.first, other))
    return Task(split=split, state=scene.state, requests=(wants,), gold_calls=gold)


def _second(rng: random.Random, split: Split) -> Task:
    """A second visit with one doctor, which the policy forbids; then one with another doctor."""
    scene = _Scene(rng, split)
    have, day = rng.sample(DAYS, 2)
    scene.give(scene.first, have)
    wants = Request(
        opening=f"I am {scene.name}. Book me with Dr {scene.first} on {day}.",
        answers=(scene.tells_year, YES),
        items=weighted(scene.found(), REFUSED, KEPT),
    )
    then = Request(
        opening=f"Then book me with Dr {scene.second} on {day}.",
        answers=(YES,),
        items=weighted(
            scene.looked(scene.second),
            _confirmed(day),
            scene.slot_held("booked", scene.second, day, scene.patient),
        ),
    )
    return Task(
        split=split,
        state=scene.state,
        requests=(wants, then),
        gold_calls=(scene.booking(scene.second, day),),
    )


CLINIC = World(
    name="clinic",
    policy=(
        "You are the reception of a clinic. Today is Monday. Find the patient by name and year of "
        "birth first; ask for what is missing. Before you book, cancel or move a visit, name the day "
        "and ask the patient to confirm. A visit that is tomorrow (Tue) cannot be cancelled or moved. "
        "A patient has at most one visit per doctor. To move a visit, cancel it and book the new one. "
        + CLOSING_RULE
    ),
    brief=(
        "Clinic, Monday. Ask the birth year. Ask to confirm the day before you write. No cancelling "
        "for Tue. One visit per doctor."
    ),
    toolbox=ToolBox((find_patient, free_slots, book, cancel)),
    templates=templates(_book, _change, _late, _move, _second),
    serve=serve,
)
