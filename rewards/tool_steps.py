"""What a tool-using agent did in each turn, read from the record, and predicates over it.

The tool-use environment writes into `Turn.info`: `calls` (name, arguments, ok), `reply` (what the user
saw), `changes` (where the world differs from its start: path, after) and, where a judge was asked, `judged`
(item -> verdict).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict

from turngym.errors import DataError
from turngym.types import Trajectory, Turn

__all__ = [
    "AllOf",
    "CallMade",
    "Called",
    "Changed",
    "Check",
    "Judged",
    "Says",
    "Step",
    "Untouched",
    "communicated",
    "holds",
    "step_of",
    "steps_by_exchange",
]

_CLOSED = ConfigDict(extra="forbid")
"""Checks come from files, where a misspelt field must not pass unseen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallMade:
    """One call and whether it worked."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    ok: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One turn of the agent: calls, or words to the user."""

    calls: tuple[CallMade, ...] = ()
    reply: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Path -> value, for all that differs from the start of the episode; None where it is gone."""
    judged: Mapping[str, bool | None] = field(default_factory=dict)
    """Item -> a judge's verdict; None where the judge failed."""

    @property
    def failed(self) -> bool:
        """Whether a tool answered with an error."""
        return not all(call.ok for call in self.calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """The step makes a call that works, with these arguments among its own."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    kind: Literal["called"] = "called"


@dataclass(frozen=True, slots=True, kw_only=True)
class Says:
    """The step tells the user one of these texts (lower case, commas ignored)."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    any_of: tuple[str, ...]
    kind: Literal["says"] = "says"


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """After the step the world holds `value` at `path`, and did not at the start."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    path: str
    value: Any
    kind: Literal["changed"] = "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Untouched:
    """The step answers the user, and nothing in the world has changed since the exchange began."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    kind: Literal["untouched"] = "untouched"


@dataclass(frozen=True, slots=True, kw_only=True)
class AllOf:
    """Every one of several holds in the same step."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    checks: tuple[Check, ...]
    kind: Literal["all_of"] = "all_of"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A judge decides by the item's question; its verdicts stand in the step (`rewards.judged`)."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    kind: Literal["judged"] = "judged"


Check = Called | Says | Changed | Untouched | AllOf
"""What a rule decides."""


def holds(check: Check, steps: Sequence[Step], before: Mapping[str, Any] | None = None) -> bool:
    """Whether `check` holds in the last of `steps`.

    Args:
        check: the predicate.
        steps: those of one exchange so far; at least one.
        before: `changes` as they were when the exchange began.
    """
    now = steps[-1]
    match check:
        case Called():
            return any(_fits(check, call) for call in now.calls)
        case Says():
            return any(communicated((text,), (now.reply,))[text] for text in check.any_of)
        case Changed():
            return check.path in now.changes and now.changes[check.path] == check.value
        case Untouched():
            return bool(now.reply) and dict(now.changes) == dict(before or {})
        case AllOf():
            return all(holds(part, steps, before) for part in check.checks)


def communicated(outputs: Sequence[str], replies: Sequence[str]) -> dict[str, bool]:
    """For each output, whether a reply has it as a substring.

    As tau-bench: the output in lower case, the reply in lower case without commas.
    """
    seen = [reply.lower().replace(",", "") for reply in replies]
    return {text: any(text.lower() in reply for reply in seen) for text in outputs}


def step_of(turn: Turn) -> Step:
    """What the record says of one turn.

    Raises:
        DataError: the turn was not recorded by the tool-use environment.
    """
    info = turn.info
    try:
        calls = tuple(
            CallMade(name=call["name"], arguments=call["arguments"], ok=call["ok"])
            for call in info["calls"]
        )
        changed = {change["path"]: change["after"] for change in info["changes"]}
        judged = info.get("judged", {})
        return Step(calls=calls, reply=info["reply"], changes=changed, judged=judged)
    except (KeyError, TypeError) as error:
        raise DataError(
            "a turn's info needs calls (name, arguments, ok), reply and changes (path, after), as "
            f"turngym/ToolUse-v0 writes them; got the keys {sorted(info)}"
        ) from error


def steps_by_exchange(trajectory: Trajectory) -> dict[int, list[tuple[int, Step]]]:
    """For each exchange the agent was in: (turn number, step), in order."""
    found: dict[int, list[tuple[int, Step]]] = {}
    for number, turn in enumerate(trajectory.turns):
        found.setdefault(turn.exchange, []).append((number, step_of(turn)))
    return found


def _fits(check: Called, call: CallMade) -> bool:
    return (
        call.ok
        and call.name == check.name
        and all(
            name in call.arguments and call.arguments[name] == value
            for name, value in check.arguments.items()
        )
    )
