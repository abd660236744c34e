"""World states: their hash and the difference of two.

Keys of the state itself that begin with `_` are book-keeping of back-ends and no part of the world.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from turngym.envs.canonical import digest

__all__ = ["Change", "changes", "same_world", "state_hash"]

_MISSING = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One place in which two states differ."""

    op: Literal["add", "remove", "replace"]
    path: str
    """Keys and list positions, each after a `/`."""
    before: Any = None
    after: Any = None


def state_hash(state: Any) -> str:
    """Sixteen hexadecimal digits; the order of keys does not matter, that of lists does."""
    return digest(_world(state))


def same_world(one: Any, other: Any) -> bool:
    """Whether two states are equal as worlds."""
    return bool(_world(one) == _world(other))


def changes(before: Any, after: Any) -> tuple[Change, ...]:
    """Where `after` differs from `before`, as deep down as both have the same shape.

    What is longer at the end of a list is added there; keys come in the order of `before`, then of
    `after`.
    """
    return tuple(_walk(_world(before), _world(after), ""))


def _world(state: Any) -> Any:
    if not isinstance(state, dict):
        return state
    return {key: value for key, value in state.items() if not str(key).startswith("_")}


def _walk(before: Any, after: Any, path: str) -> Iterator[Change]:
    if before is _MISSING:
        yield Change(op="add", path=path, after=after)
    elif after is _MISSING:
        yield Change(op="remove", path=path, before=before)
    elif isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            yield from _walk(before.get(key, _MISSING), after.get(key, _MISSING), f"{path}/{key}")
    elif isinstance(before, list) and isinstance(after, list):
        for index in range(max(len(before), len(after))):
            yield from _walk(_item(before, index), _item(after, index), f"{path}/{index}")
    elif type(before) is not type(after) or before != after:
        yield Change(op="replace", path=path, before=before, after=after)


def _item(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else _MISSING
