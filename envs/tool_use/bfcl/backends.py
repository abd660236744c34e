"""BFCL's multi-turn entries: their tools and state, replay of calls, state and response checks.

Facts are those of gorilla@6ea57973: documented schemas, data, checks. The back-ends are ours, so an end
state here need not be equal to that of the original in what its documents leave open (fares, say).
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from turngym.envs.tool_use.bfcl import file_system, social, tickets, trading, travel, vehicle
from turngym.envs.tool_use.bfcl.maths import MATHS
from turngym.envs.tool_use.rows import BfclDialogue
from turngym.envs.tool_use.tools import State, ToolBox, ToolResult
from turngym.errors import UnknownNameError
from turngym.types import ToolCall

__all__ = [
    "CLASSES",
    "Backend",
    "TurnCheck",
    "check_turns",
    "compared",
    "initial_state",
    "replay",
    "toolbox_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One class of BFCL."""

    toolbox: ToolBox
    start: Callable[[dict[str, Any]], dict[str, Any]]
    """An entry's `initial_config` for this class -> its state; keys with `_` are not compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCheck:
    """BFCL's checks of one turn (our exchange)."""

    state_equal: bool
    """Whether every compared attribute is as after the gold calls so far."""
    results_seen: bool
    """Whether every result of the turn's gold calls is among all results so far, in any order."""
    skipped: bool = False
    """The turn has no gold call."""

    @property
    def passed(self) -> bool:
        """Whether the turn is right."""
        return self.skipped or (self.state_equal and self.results_seen)


def _nothing(config: dict[str, Any]) -> dict[str, Any]:
    return {}


CLASSES: Mapping[str, Backend] = {
    "GorillaFileSystem": Backend(toolbox=file_system.FILE_SYSTEM, start=file_system.start),
    "MathAPI": Backend(toolbox=MATHS, start=_nothing),
    "MessageAPI": Backend(toolbox=social.MESSAGES, start=social.start_messages),
    "TicketAPI": Backend(toolbox=tickets.TICKETS, start=tickets.start),
    "TradingBot": Backend(toolbox=trading.TRADING, start=trading.start),
    "TravelAPI": Backend(toolbox=travel.TRAVEL, start=travel.start),
    "TwitterAPI": Backend(toolbox=social.POSTS, start=social.start_posts),
    "VehicleControlAPI": Backend(toolbox=vehicle.VEHICLE, start=vehicle.start),
}


def toolbox_of(entry: BfclDialogue) -> ToolBox:
    """The tools of an entry's classes, without those that it excludes.

    Raises:
        UnknownNameError: a class that has no back-end.
    """
    tools = [each for name in entry.classes for each in _class(name).toolbox.tools.values()]
    return ToolBox(each for each in tools if each.name not in entry.excluded)


def initial_state(entry: BfclDialogue) -> State:
    """The state that an entry begins with; a copy."""
    config = copy.deepcopy(dict(entry.initial_config))
    return {name: _class(name).start(config.get(name, {})) for name in entry.classes}


def replay(
    entry: BfclDialogue, turns: Sequence[Sequence[ToolCall]]
) -> tuple[tuple[State, ...], tuple[tuple[ToolResult, ...], ...]]:
    """The state after each turn, and the results of its calls."""
    # The gold calls may use what the agent is not offered, so nothing is excluded here.
    tools = [each for name in entry.classes for each in _class(name).toolbox.tools.values()]
    box, state = ToolBox(tools), initial_state(entry)
    states, results = [], []
    for calls in turns:
        got = []
        for call in calls:
            state, result = box.call(state, call)
            got.append(result)
        states.append(state)
        results.append(tuple(got))
    return tuple(states), tuple(results)


def check_turns(entry: BfclDialogue, turns: Sequence[Sequence[ToolCall]]) -> tuple[TurnCheck, ...]:
    """BFCL's checks of an agent's calls, turn by turn; turns that it did not reach fail."""
    padded = [*turns, *([()] * (len(entry.gold_calls) - len(turns)))]
    wanted_states, wanted = replay(entry, entry.gold_calls)
    states, results = replay(entry, padded[: len(entry.gold_calls)])
    seen: Counter[str] = Counter()
    checks = []
    for number, gold in enumerate(wanted):
        seen.update(map(_text, results[number]))
        checks.append(
            TurnCheck(
                state_equal=compared(states[number]) == compared(wanted_states[number]),
                results_seen=bool(padded[number]) and not Counter(map(_text, gold)) - seen,
                skipped=not gold,
            )
        )
    return tuple(checks)


def compared(state: State) -> dict[str, dict[str, Any]]:
    """The attributes that BFCL compares: those whose names do not begin with `_`."""
    return {
        name: {key: value for key, value in own.items() if not key.startswith("_")}
        for name, own in state.items()
    }


def _class(name: str) -> Backend:
    if name not in CLASSES:
        raise UnknownNameError("BFCL class", name, CLASSES)
    return CLASSES[name]


def _text(result: ToolResult) -> str:
    return json.dumps(json.loads(result.content), sort_keys=True)
