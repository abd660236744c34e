"""Checklist rewards of CM2 (`paper`) and of its released code (`released`), with rule-based items.

With S steps and C items in an exchange, V[s, c] says whether item c holds in step s.

    fired[c]  first s with V[s, c] where every item that c depends on fired before s
    r[s, c]   1 at s = fired[c], else 0                              (equation 2)
    r~[s, c]  1 at every s <= fired[c]: earlier steps share in it    (equation 3)
    R         sum over exchanges, steps and items of w_c r[s, c]     (equation 1)

A verdict is None where a judge failed: the item does not fire in that step, and what would depend on it has
no value (a `JudgeFailure`), never 0.

`released`: at exchange and trajectory level an item counts when it holds in any step, whatever it
depends on, and R is divided by the number of reference exchanges.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from turngym.errors import DataError, JudgeFailure
from turngym.rewards.checklist import Checklist, Item
from turngym.rewards.reward import TrajectoryReward, TurnReward, TurnValue, reward
from turngym.rewards.tool_steps import Check, Judged, Step, holds, steps_by_exchange
from turngym.types import Trajectory

__all__ = [
    "ChecklistItem",
    "DialogueChecklist",
    "Evidence",
    "Preset",
    "Table",
    "about_tools",
    "backfilled",
    "checklist_from_json",
    "checklist_of",
    "checklist_turns",
    "cm2_exchange",
    "cm2_exchange_released",
    "cm2_trajectory",
    "cm2_trajectory_released",
    "cm2_turn",
    "cm2_turn_backfilled",
    "exchange_value",
    "fire",
    "satisfied",
    "strict_satisfied",
    "unknown",
    "verdicts",
]

Preset = Literal["paper", "released"]
Channel = Literal[
    "user.content",
    "assistant.content.thinking",
    "assistant.content.user_visible_reply",
    "assistant.tool_calls",
    "tool.content",
]
_TOOL_CHANNELS = frozenset({"assistant.tool_calls", "tool.content"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Where in the reference dialogue an item comes from."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    turn: int
    step: int
    source: Channel
    """`from` in CM2's records."""
    snippet: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecklistItem:
    """One binary question about an exchange, decided by a rule or a judge."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    id: str
    """Unique in its exchange."""
    question: str
    check: Check | Judged = field(metadata={"discriminator": "kind"})
    weight: float
    """Weights of an exchange sum to 1."""
    focus_on: tuple[Channel, ...]
    pass_condition: str = ""
    failure_examples: tuple[str, ...] = ()
    required_for_next_turn: bool = True
    """Strict: without it the conversation does not go on."""
    dependence: tuple[str, ...] = ()
    """Items, with a focus on tools, that must be satisfied in an earlier step."""
    evidence: tuple[Evidence, ...] = ()


Table = tuple[tuple[bool | None, ...], ...]
"""One row per step, one verdict per item."""
DialogueChecklist = tuple[tuple[ChecklistItem, ...], ...]
_ADAPTER = TypeAdapter(DialogueChecklist)


def checklist_from_json(data: Any) -> DialogueChecklist:
    """The items of every reference exchange, from plain data.

    Raises:
        DataError: unknown or missing fields, an id twice, a dependence that is unknown, cyclic or no
            tool item, weights that do not sum to 1.
    """
    try:
        exchanges = _ADAPTER.validate_python(data)
    except (ValidationError, RecursionError) as error:
        raise DataError(f"this is no checklist: {error}") from error
    if not exchanges:
        raise DataError("a checklist needs at least one exchange, got none")
    for number, items in enumerate(exchanges):
        _check_exchange(number, items)
    return exchanges


def verdicts(
    items: Sequence[ChecklistItem], steps: Sequence[Step], before: Mapping[str, Any] | None = None
) -> Table:
    """V, one row per step of an exchange: bool or None [S][C].

    Items about tools do not hold in a step in which a tool answered with an error (CM2).
    """
    return tuple(
        tuple(_verdict(item, steps[: number + 1], before) for item in items)
        for number in range(len(steps))
    )


def about_tools(item: ChecklistItem) -> bool:
    """Whether an item looks at calls or results, so that a tool's error decides it."""
    return bool(_TOOL_CHANNELS.intersection(item.focus_on))


def fire(
    items: Sequence[ChecklistItem], table: Sequence[Sequence[bool | None]]
) -> tuple[int | None, ...]:
    """For each item the step in which it fires, None where it never does (equation 2)."""
    fired: dict[str, int] = {}
    for number, row in enumerate(table):
        ready = [
            item.id
            for item, verdict in zip(items, row, strict=True)
            if verdict and item.id not in fired and fired.keys() >= set(item.dependence)
        ]
        fired.update(dict.fromkeys(ready, number))
    return tuple(fired.get(item.id) for item in items)


def unknown(
    items: Sequence[ChecklistItem], table: Sequence[Sequence[bool | None]]
) -> dict[int, tuple[str, ...]]:
    """Step -> items that were open in it and on which the judge failed."""
    fired = fire(items, table)
    found = {
        step: tuple(
            item.id
            for item, verdict, place in zip(items, row, fired, strict=True)
            if verdict is None and (place is None or place > step)
        )
        for step, row in enumerate(table)
    }
    return {step: names for step, names in found.items() if names}


def backfilled(fired: Sequence[int | None], num_steps: int) -> tuple[tuple[bool, ...], ...]:
    """r~, bool[S][C]: credit of each step for what is completed in it or later (equation 3)."""
    return tuple(
        tuple(place is not None and step <= place for place in fired) for step in range(num_steps)
    )


def strict_satisfied(items: Sequence[ChecklistItem], fired: Sequence[int | None]) -> bool:
    """The turn gate: whether every strict item has fired, so that the user goes on."""
    return all(
        place is not None
        for item, place in zip(items, fired, strict=True)
        if item.required_for_next_turn
    )


def exchange_value(
    items: Sequence[ChecklistItem],
    table: Sequence[Sequence[bool | None]],
    preset: Preset = "paper",
) -> float:
    """The weight that one exchange earns, in [0, 1].

    Raises:
        JudgeFailure: a judge failed on an item that is satisfied nowhere else.
    """
    for c, item in enumerate(items):
        column = [row[c] for row in table]
        if None in column and True not in column:
            raise JudgeFailure(f"the judge gave no verdict on item {item.id!r}")
    if preset == "paper":
        earned = [place is not None for place in fire(items, table)]
    else:
        earned = [any(row[c] for row in table) for c in range(len(items))]
    return sum((item.weight for item, got in zip(items, earned, strict=True) if got), 0.0)


def checklist_of(trajectory: Trajectory) -> DialogueChecklist:
    """The checklist that the environment kept in `privileged.hidden_state["checklist"]`.

    Raises:
        JudgeFailure: the record has none, so there is nothing to judge by.
    """
    data = trajectory.privileged.hidden_state.get("checklist")
    if data is None:
        raise JudgeFailure(f"{trajectory.episode} carries no checklist in its privileged state")
    return checklist_from_json(data)


def checklist_turns(
    trajectory: Trajectory,
    *,
    backfill: bool = False,
    weights: Mapping[str, float] | None = None,
) -> tuple[TurnValue, ...]:
    """Per turn: sum of w_c r[s, c], or of w_c r~[s, c] with `backfill`.

    `weights` by `exchange/item` stand for the items' own.

    A JudgeFailure where a judge failed on an open item; with `backfill` in all turns up to there.
    """
    values = [0.0] * len(trajectory.turns)
    failed: dict[int, JudgeFailure] = {}
    for exchange, items, numbers, table in _tables(trajectory):
        fired = fire(items, table)
        worth = [(weights or {}).get(f"{exchange}/{i.id}", i.weight) for i in items]
        credit = backfilled(fired, len(table))
        for step, names in unknown(items, table).items():
            failure = JudgeFailure(f"no verdict on {', '.join(names)}")
            first = 0 if backfill else step
            failed.update(dict.fromkeys(numbers[first : step + 1], failure))
        for step, number in enumerate(numbers):
            for c, weight in enumerate(worth):
                if credit[step][c] if backfill else fired[c] == step:
                    values[number] += weight
    return tuple(failed.get(number, value) for number, value in enumerate(values))


def satisfied(trajectory: Trajectory) -> dict[str, bool | None]:
    """`exchange/item` -> whether it fired, None where only a judge's failure stands in the way.

    Items of exchanges that were not reached are left out.
    """
    found: dict[str, bool | None] = {}
    for exchange, items, _, table in _tables(trajectory):
        open_items = {name for names in unknown(items, table).values() for name in names}
        for item, place in zip(items, fire(items, table), strict=True):
            missing = place is None and item.id in open_items
            found[f"{exchange}/{item.id}"] = None if missing else place is not None
    return found


@reward("cm2_turn", level="turn")
def cm2_turn(trajectory: Trajectory) -> tuple[TurnValue, ...]:
    """Checklist weight that fires in each turn (CM2 calls it a step)."""
    return checklist_turns(trajectory)


@reward("cm2_turn_backfilled", level="turn")
def cm2_turn_backfilled(trajectory: Trajectory) -> tuple[TurnValue, ...]:
    """As `cm2_turn`, with earlier turns of the exchange sharing in what completes later."""
    return checklist_turns(trajectory, backfill=True)


def _by_exchange(name: str, preset: Preset) -> TurnReward:
    def value(trajectory: Trajectory) -> tuple[TurnValue, ...]:
        values: list[TurnValue] = [None] * len(trajectory.turns)
        for _, items, numbers, table in _tables(trajectory):
            try:
                values[numbers[-1]] = exchange_value(items, table, preset)
            except JudgeFailure as failure:
                values[numbers[-1]] = failure
        return tuple(values)

    return reward(name, level="turn")(value)


def _by_trajectory(name: str, preset: Preset) -> TrajectoryReward:
    def value(trajectory: Trajectory) -> float:
        total = sum(exchange_value(i, table, preset) for _, i, _, table in _tables(trajectory))
        return total / (len(checklist_of(trajectory)) if preset == "released" else 1)

    return reward(name)(value)


cm2_exchange = _by_exchange("cm2_exchange", "paper")
"""Checklist weight of each exchange, at its last turn; None at the others."""
cm2_exchange_released = _by_exchange("cm2_exchange_released", "released")
cm2_trajectory = _by_trajectory("cm2_trajectory", "paper")
"""Equation 1: the checklist weight of the whole dialogue, in [0, number of exchanges]."""
cm2_trajectory_released = _by_trajectory("cm2_trajectory_released", "released")


def _tables(
    trajectory: Trajectory,
) -> list[tuple[int, tuple[ChecklistItem, ...], list[int], Table]]:
    """For each exchange that was reached and has items: its number, items, turn numbers, V."""
    exchanges = checklist_of(trajectory)
    found = []
    before: Mapping[str, Any] = {}
    for exchange, numbered in sorted(steps_by_exchange(trajectory).items()):
        steps = [step for _, step in numbered]
        if exchange < len(exchanges):
            items = exchanges[exchange]
            numbers = [number for number, _ in numbered]
            found.append((exchange, items, numbers, verdicts(items, steps, before)))
        before = steps[-1].changes
    return found


def _verdict(
    item: ChecklistItem, steps: Sequence[Step], before: Mapping[str, Any] | None
) -> bool | None:
    if steps[-1].failed and about_tools(item):
        return False
    if isinstance(item.check, Judged):
        return steps[-1].judged.get(item.id)
    return holds(item.check, steps, before)


def _check_exchange(number: int, items: Sequence[ChecklistItem]) -> None:
    where = f"exchange {number} of the checklist"
    possible = {item.id for item in items if about_tools(item)}
    for item in items:
        if wrong := set(item.dependence) - possible:
            raise DataError(
                f"{where}: item {item.id!r} depends on {sorted(wrong)}; expected ids of items that "
                f"focus on tools: {sorted(possible)}"
            )
    try:  # the general checklist knows what names and circles are wrong
        Checklist(
            name=where,
            items=tuple(
                Item(name=i.id, holds=_never, weight=i.weight, after=i.dependence) for i in items
            ),
        )
    except ValueError as error:
        raise DataError(str(error)) from error
    total = sum(item.weight for item in items)
    if any(item.weight < 0 for item in items):
        raise DataError(f"{where}: a weight is below 0")
    if items and not math.isclose(total, 1.0, abs_tol=1e-6):
        raise DataError(f"{where}: the weights sum to {total:g}, expected 1")


def _never(trajectory: Trajectory) -> tuple[bool, ...]:
    return (False,) * len(trajectory.turns)
