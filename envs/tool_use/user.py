"""The scripted user: answers questions that he knows the answer to, and asks for one thing at a time.

A reply with a question mark is a question, but for a courtesy such as "Anything else?"; any other reply
closes the request. He never volunteers what he was not asked, and says each answer once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from turngym.envs.tool_use.tasks import Request

__all__ = ["AskedUser", "Heard", "hear"]

_PUZZLED = "I do not know."
_SENTENCE_END = re.compile(r"(?<=[.!?])")
_COURTESIES = ("anything else", "something else", "help you", "assist you")


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedUser:
    """Where the user is: in which request, with which answers given."""

    request: int = 0
    given: frozenset[int] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a reply does to the user."""

    user: AskedUser
    says: str = ""
    closed: bool = False
    """The reply closes the request; what comes next depends on the turn gate."""


def hear(user: AskedUser, request: Request, reply: str) -> Heard:
    """The user after `reply`, with his answer if it was a question."""
    text = reply.lower()
    questions = [
        sentence
        for sentence in _SENTENCE_END.split(text)
        if sentence.endswith("?") and not any(each in sentence for each in _COURTESIES)
    ]
    if not questions or not request.asks:
        return Heard(user=AskedUser(request=user.request + 1), closed=True)
    for place, answer in enumerate(request.answers):
        if place not in user.given and any(cue in text for cue in answer.cues):
            after = AskedUser(request=user.request, given=user.given | {place})
            return Heard(user=after, says=answer.says)
    return Heard(user=user, says=_PUZZLED)
