"""What every bundled world is made of: common items, answers, a rule, a look-up."""

from __future__ import annotations

from typing import Any

from turngym.envs.tool_use.tasks import Answer, item
from turngym.envs.tool_use.tools import RefusedError, State
from turngym.rewards.tool_checklist import ChecklistItem
from turngym.rewards.tool_steps import Says, Untouched

__all__ = ["CLOSING_RULE", "KEPT", "REFUSED", "YES", "YES_CUES", "record", "says"]

CLOSING_RULE = (
    "A message with a question mark is taken as a question; any other message closes the user's "
    "request."
)


def says(id: str, question: str, *texts: str) -> ChecklistItem:
    """The item that the agent tells the user one of some texts."""
    return item(id, question, Says(any_of=texts))


KEPT = item("kept", "Is everything left as it was when the agent answers?", Untouched())
REFUSED = says("no", "Does the agent refuse?", "cannot", "can't", "not possible", "sorry", "unable")
YES_CUES = ("confirm", "shall i", "ok?", "right?")
YES = Answer(cues=YES_CUES, says="Yes, please.")


def record(state: State, table: str, key: str, noun: str) -> dict[str, Any]:
    """A record of the state, to read or change.

    Raises:
        RefusedError: there is none; names the noun.
    """
    if key not in state[table]:
        raise RefusedError(f"there is no {noun} {key[:80]!r}")
    found: dict[str, Any] = state[table][key]
    return found
