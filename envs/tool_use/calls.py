"""Calls written as Python, `lend(card='M12', book="B7")`: read as data, never evaluated."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from turngym.envs.tool_use.tools import ToolResult
from turngym.errors import DataError
from turngym.rewards.tool_steps import CallMade
from turngym.types import ToolCall

__all__ = ["MAX_CALL_CHARACTERS", "call_record", "parse_call", "parse_calls"]

MAX_CALL_CHARACTERS = 65_536


def parse_call(text: str, names: Mapping[str, Sequence[str]] | None = None) -> ToolCall:
    """The one call in `text`; see `parse_calls`.

    Raises:
        DataError: no single call with literal arguments.
    """
    calls = parse_calls(text, names)
    if len(calls) != 1:
        raise DataError(f"expected one call, got {len(calls)}: {text[:80]!r}")
    return calls[0]


def parse_calls(
    text: str, names: Mapping[str, Sequence[str]] | None = None
) -> tuple[ToolCall, ...]:
    """The calls in `text`: one call, or calls in a list, separated by commas or on lines of their own.

    Args:
        text: names may be dotted; values are literals.
        names: tool -> its parameters in order, which arguments without a name need.

    Raises:
        DataError: something else; the message says what.
    """
    if len(text) > MAX_CALL_CHARACTERS:
        raise DataError(f"calls of {len(text)} characters; at most {MAX_CALL_CHARACTERS} are read")
    try:
        body = ast.parse(text.strip()).body
        nodes = [_as_call(node) for part in body for node in _parts(part)]
        return tuple(_read(node, place, names or {}) for place, node in enumerate(nodes))
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"{text[:80]!r} is not a call: {error}") from error


def _parts(statement: ast.stmt) -> list[ast.expr]:
    if not isinstance(statement, ast.Expr):
        raise ValueError("a statement that is no call")
    value = statement.value
    return list(value.elts) if isinstance(value, ast.List | ast.Tuple) else [value]


def _as_call(node: ast.expr) -> ast.Call:
    if not isinstance(node, ast.Call):
        raise ValueError("expected name(argument=value)")
    return node


def _read(node: ast.Call, place: int, names: Mapping[str, Sequence[str]]) -> ToolCall:
    name = _name(node.func)
    known = names.get(name, ())
    if len(node.args) > len(known):
        raise ValueError("every argument needs its name")
    pairs = [*zip(known, node.args, strict=False), *((key.arg, key.value) for key in node.keywords)]
    arguments: dict[str, Any] = {}
    for key, value in pairs:
        if key is None or key in arguments:
            raise ValueError("** is not read, and an argument is given once")
        arguments[key] = ast.literal_eval(value)
    return ToolCall(id=f"call_{place}", name=name, arguments=arguments)


def _name(function: ast.expr) -> str:
    """A plain or dotted name."""
    match function:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=owner, attr=name):
            return f"{_name(owner)}.{name}"
    raise ValueError("what is called has no plain name")


def call_record(call: ToolCall, result: ToolResult) -> CallMade:
    """The record of a call; arguments that are not JSON, or huge, are left out."""
    unread = result.code == "malformed_arguments"
    return CallMade(name=call.name[:100], arguments={} if unread else call.arguments, ok=result.ok)
