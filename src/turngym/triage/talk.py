"""Signals of the conversation: misalignment, stagnation, disengagement, satisfaction."""

from __future__ import annotations

import re
from collections.abc import Iterator

from turngym.triage.signal import Signal
from turngym.triage.texts import clean, cosine, trigram_overlap, words
from turngym.triage.words import SAID_BY_USER, find
from turngym.types import Trajectory

__all__ = ["MAX_MESSAGES", "talk_signals"]

_NUMBER = re.compile(r"\d+")

MAX_MESSAGES = 100
"""Only the last ones are read."""

LOOK_BACK = 2
NEARLY_THE_SAME = 0.85
MIN_WORDS = 5
SAME_REQUEST_TRIGRAMS = 0.65
SAME_REQUEST_COSINE = 0.60
FREE_USER_TURNS = 5
COST_PER_USER_TURN = 0.25
DRAGGING_BELOW = 0.5


def talk_signals(trajectory: Trajectory) -> tuple[Signal, ...]:
    """What the user's words and the agent's repetitions say, in order of turns.

    Repetition: a reply of at least five words whose trigrams overlap by 0.85 or more with one of the
    two before it. Dragging: 1 / (1 + 0.25 (n - 5)) < 0.5 for n user messages. Rephrase: a user
    message that asks the one before it again in other words.
    """
    found = [*_user_signals(trajectory), *_repetitions(trajectory)]
    heard = list(_user_messages(trajectory))
    asked = len(heard)
    if 1 / (1 + COST_PER_USER_TURN * max(asked - FREE_USER_TURNS, 0)) < DRAGGING_BELOW:
        last = max(len(trajectory.turns) - 1, 0)
        found.append(Signal(kind="dragging", turn=last, note=f"{asked} user messages"))
    return tuple(sorted(found, key=lambda signal: signal.turn))


def _user_messages(trajectory: Trajectory) -> Iterator[tuple[int, str]]:
    """(turn that it answers, raw text) of what users said; the opening request is turn -1."""
    for index, turn in enumerate(trajectory.turns):
        yield from ((index - 1, m.content) for m in turn.seen if m.role == "user" and m.content)
    last = len(trajectory.turns) - 1
    yield from ((last, m.content) for m in trajectory.closing if m.role == "user" and m.content)


def _user_signals(trajectory: Trajectory) -> Iterator[Signal]:
    before = ""
    for turn, raw in list(_user_messages(trajectory))[-MAX_MESSAGES:]:
        text = clean(raw)
        if turn >= 0:  # the request itself answers nothing
            if hit := find(SAID_BY_USER, text):
                yield Signal(kind=hit[0], turn=turn, note=hit[1])
            elif before and "\n" not in raw and _same_request(text, before):
                yield Signal(kind="rephrase", turn=turn, note=text[:80])
        # A page or a listing has lines; a person's request has none.
        before = "" if "\n" in raw else text


def _same_request(text: str, before: str) -> bool:
    # What differs in numbers alone comes from a machine.
    if _NUMBER.sub("", text) == _NUMBER.sub("", before) or len(words(text)) < MIN_WORDS:
        return False
    return (
        trigram_overlap(text, before) >= SAME_REQUEST_TRIGRAMS
        or cosine(text, before) >= SAME_REQUEST_COSINE
    )


def _repetitions(trajectory: Trajectory) -> Iterator[Signal]:
    replies = [clean(turn.completion.message.content) for turn in trajectory.turns]
    for index in range(max(1, len(replies) - MAX_MESSAGES), len(replies)):
        reply = replies[index]
        if len(words(reply)) < MIN_WORDS:
            continue
        for other in replies[max(0, index - LOOK_BACK) : index]:
            if trigram_overlap(reply, other) >= NEARLY_THE_SAME:
                yield Signal(kind="repetition", turn=index, note=reply[:80])
                break
