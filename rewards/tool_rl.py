"""The fine-grained tool-call reward of ToolRL (arXiv 2504.13958).

    S     = J(names) + sum over gold calls of [ J(parameter names) + number of equal values ]
    S_max = 1 + sum over gold calls of (1 + number of parameters)
    R     = 6 S / S_max - 3                                     in [-3, 3]

J is the Jaccard index of multisets. Each gold call, in order, takes the best unused call of its name.
Where no call is wanted, the released code gives 0 whatever was called (`released`), so that a spurious
call costs nothing; by default it costs -3 here.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from turngym.errors import DataError
from turngym.types import ToolCall

__all__ = ["calls_in", "correctness", "jaccard", "tool_rl_format", "tool_rl_reward"]

LOWEST, HIGHEST = -3.0, 3.0
Preset = Literal["fixed", "released"]
_CALLS = re.compile(r"<tool_call>\n?(.*?)\n?</tool_call>", re.DOTALL)
_THINK, _CALL, _REPLY = (
    r"<think>(?:(?!</think>).)*</think>",
    r"<tool_call>\n(?:(?!</tool_call>).)*\n</tool_call>",
    r"<response>(?:(?!</response>).)*</response>",
)


def tool_rl_reward(text: str, reference: str, preset: Preset = "fixed") -> float:
    """Format plus correctness of a reply against a reference reply, in [-3, 4].

    Raises:
        DataError: the reference itself cannot be read.
    """
    gold = calls_in(reference)
    if gold is None:
        raise DataError(f"the calls of the reference cannot be read: {reference[-200:]!r}")
    said = _said(reference)
    well_formed = tool_rl_format(text, calls="<tool_call>" in said, reply="<response>" in said)
    return float(well_formed) + correctness(calls_in(text), gold, preset)


def tool_rl_format(text: str, *, calls: bool, reply: bool) -> bool:
    """Whether `text` is a thought and then exactly the parts that the reference has."""
    parts = [_THINK, *([_CALL] if calls else []), *([_REPLY] if reply else [])]
    return re.fullmatch("\n".join(parts), text, re.DOTALL) is not None


def calls_in(text: str) -> tuple[ToolCall, ...] | None:
    """The calls inside `<tool_call>`, one JSON object per line; none without the tag.

    The thought is left out, for it may speak of the tag. None when a line is no object with a string
    `name` and an object of `parameters`.
    """
    said = _said(text)
    found = _CALLS.search(said)
    if found is None:
        return None if "<tool_call>" in said else ()
    lines = [line for line in found[1].splitlines() if line.strip()]
    calls = tuple(_call(line, place) for place, line in enumerate(lines))
    return None if None in calls else tuple(call for call in calls if call is not None)


def correctness(
    calls: Sequence[ToolCall] | None, gold: Sequence[ToolCall], preset: Preset = "fixed"
) -> float:
    """R in [-3, 3]; 0 when nothing is wanted and nothing is called.

    Args:
        calls: what was called; None when it could not be read, which gives -3.
        gold: what should be called.
        preset: what a call costs where none is wanted.
    """
    if not gold:
        spurious = calls is None or len(calls) > 0
        return LOWEST if spurious and preset == "fixed" else 0.0
    if calls is None:
        return LOWEST
    score = jaccard((call.name for call in calls), (call.name for call in gold))
    unused = list(calls)
    for wanted in gold:
        same = [call for call in unused if call.name == wanted.name]
        if same:
            best = max(same, key=lambda call: _match(call, wanted))
            score += _match(best, wanted)
            unused.remove(best)
    highest = 1 + sum(1 + len(wanted.arguments) for wanted in gold)
    return (HIGHEST - LOWEST) * score / highest + LOWEST


def jaccard(one: Iterable[Any], other: Iterable[Any]) -> float:
    """|A and B| / |A or B| of multisets; 1 when both are empty."""
    left, right = Counter(iter(one)), Counter(iter(other))  # of a mapping: its keys
    union = (left | right).total()
    return (left & right).total() / union if union else 1.0


def _said(text: str) -> str:
    """What follows the thought."""
    return text.partition("</think>")[2] if "</think>" in text else text


def _match(call: ToolCall, wanted: ToolCall) -> float:
    """In [0, 1 + number of wanted parameters]."""
    equal = sum(
        name in call.arguments and _same(call.arguments[name], value)
        for name, value in wanted.arguments.items()
    )
    return jaccard(call.arguments, wanted.arguments) + equal


def _same(one: Any, other: Any) -> bool:
    """Equal in value, and both or neither booleans."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _call(line: str, place: int) -> ToolCall | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not isinstance(row.get("name"), str):
        return None
    parameters = row.get("parameters", {})
    if not isinstance(parameters, dict):
        return None
    return ToolCall(id=f"call_{place}", name=row["name"], arguments=parameters)
