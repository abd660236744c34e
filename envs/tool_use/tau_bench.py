"""tau-bench's retail domain (arXiv 2406.12045): its files, its protocol, its end-state reward.

Tool results, error texts, hash and reward are those of sierra-research/tau-bench@59a200c, so that recorded
episodes replay to the letter. The reference system turns whatever a tool raises into text for the agent.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turngym.envs.tool_use.tau_retail import RETAIL
from turngym.envs.tool_use.tools import RefusedError, State, Tool
from turngym.errors import DataError
from turngym.rewards.tool_steps import communicated
from turngym.types import ToolCall

__all__ = [
    "TERMINAL_TOOLS",
    "TauScore",
    "TauTask",
    "gold_hash",
    "load_retail",
    "observe",
    "replay",
    "score",
    "tau_hash",
]

TERMINAL_TOOLS = frozenset({"transfer_to_human_agents"})
TABLES = ("orders", "products", "users")


@dataclass(frozen=True, slots=True, kw_only=True)
class TauTask:
    """One task: what the user is told to want, and how it should end."""

    user_id: str
    instruction: str
    actions: tuple[ToolCall, ...]
    """The gold calls."""
    outputs: tuple[str, ...] = ()
    """Strings that the agent must tell the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TauScore:
    """Both checks of an episode."""

    state_hash: str
    gold_hash: str
    outputs: Mapping[str, bool]

    @property
    def state_equal(self) -> bool:
        """Whether the database ended as after the gold calls."""
        return self.state_hash == self.gold_hash

    @property
    def reward(self) -> float:
        """1 if the state is right and every output was told, else 0."""
        return float(self.state_equal and all(self.outputs.values()))


def load_retail(folder: Path) -> State:
    """The database in `orders.json`, `products.json` and `users.json`.

    Raises:
        DataError: a file is missing or is no JSON object.
    """
    return {table: _table(folder / f"{table}.json") for table in TABLES}


def observe(db: State, call: ToolCall) -> str:
    """What the agent is told; a call that writes changes `db`.

    Unlike `ToolBox.call` this validates arguments as Python does, by name alone.
    """
    tool = RETAIL.tools.get(call.name)
    if tool is None:
        return f"Unknown action {call.name}"
    if fault := _argument_fault(tool, call.arguments):
        return f"Error: {fault}"
    try:
        value = tool.function(db, **call.arguments)
    except RefusedError as error:
        return f"Error: {error}"
    except (TypeError, ValueError, KeyError, AttributeError, StopIteration) as error:
        return f"Error: {error}"  # arguments of wrong types, which nothing before here has checked
    return value if isinstance(value, str) else json.dumps(value)


def replay(db: State, calls: Sequence[ToolCall]) -> tuple[tuple[str, ...], State]:
    """The observations of `calls` on a copy of `db`, and the copy at the end."""
    end: State = pickle.loads(pickle.dumps(db))  # five times as fast as deepcopy
    return tuple(observe(end, call) for call in calls), end


def gold_hash(db: State, task: TauTask) -> str:
    """The hash of the database after the gold calls."""
    calls = [call for call in task.actions if call.name not in TERMINAL_TOOLS]
    return tau_hash(replay(db, calls)[1])


def score(end: State, replies: Sequence[str], task: TauTask, gold: str) -> TauScore:
    """Both checks of an episode that left the database as `end` and told the user `replies`."""
    outputs = communicated(task.outputs, replies)
    return TauScore(state_hash=tau_hash(end), gold_hash=gold, outputs=outputs)


def tau_hash(db: State) -> str:
    """SHA-256 of the text of nested tuples: dicts as sorted pairs, lists as tuples."""
    return hashlib.sha256(str(_hashable(db)).encode()).hexdigest()


def _hashable(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple((key, _hashable(value[key])) for key in sorted(value))
    if isinstance(value, list):
        return tuple(_hashable(item) for item in value)
    return value


def _argument_fault(tool: Tool, arguments: Mapping[str, Any]) -> str:
    """What Python says of a call by keywords, with the name of the reference's class; '' if fine."""
    known = list(inspect.signature(tool.function).parameters)[1:]
    target = "".join(part.capitalize() for part in tool.name.split("_")) + ".invoke()"
    for name in arguments:
        if name not in known:
            return f"{target} got an unexpected keyword argument '{name}'"
    missing = [f"'{name}'" for name in known if name not in arguments]
    if not missing:
        return ""
    listed = missing[-1]
    if len(missing) > 1:
        comma = "," if len(missing) > 2 else ""
        listed = f"{', '.join(missing[:-1])}{comma} and {listed}"
    plural = "s" if len(missing) > 1 else ""
    return f"{target} missing {len(missing)} required positional argument{plural}: {listed}"


def _table(path: Path) -> dict[str, Any]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path} is no JSON: {error}") from error
    if not isinstance(rows, dict):
        raise DataError(f"{path} holds a {type(rows).__name__}, expected an object of records")
    return rows
