"""Calls written as Python, `lend(card='M12', book="B7")`: read as data, never evaluated."""

from __future__ import annotations

import ast
from typing import Any

from turngym.errors import DataError
from turngym.types import ToolCall

__all__ = ["MAX_CALL_CHARACTERS", "parse_call", "parse_calls"]

MAX_CALL_CHARACTERS = 65_536


def parse_call(text: str, call_id: str = "call_0") -> ToolCall:
    """The call in `text`. Values are literals; a leading class name, as in `Files.cd(...)`, is dropped.

    Raises:
        DataError: no single call with named literal arguments.
    """
    calls = parse_calls(text)
    if len(calls) != 1:
        raise DataError(f"expected one call, got {len(calls)}: {text[:80]!r}")
    return ToolCall(id=call_id, name=calls[0].name, arguments=calls[0].arguments)


def parse_calls(text: str) -> tuple[ToolCall, ...]:
    """The calls in `text`: one call, a list of calls, or calls separated by commas or newlines.

    Raises:
        DataError: something else; the message says what.
    """
    if len(text) > MAX_CALL_CHARACTERS:
        raise DataError(f"calls of {len(text)} characters; at most {MAX_CALL_CHARACTERS} are read")
    try:
        body = ast.parse(text.strip()).body
        nodes = [node for part in body for node in _parts(part)]
        return tuple(
            ToolCall(id=f"call_{place}", name=_name(node), arguments=_arguments(node))
            for place, node in enumerate(map(_as_call, nodes))
        )
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


def _name(node: ast.Call) -> str:
    """The last part of a dotted name."""
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    if isinstance(function, ast.Name):
        return function.id
    raise ValueError("what is called has no plain name")


def _arguments(node: ast.Call) -> dict[str, Any]:
    if node.args:
        raise ValueError("every argument needs its name")
    arguments: dict[str, Any] = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            raise ValueError("** is not read")
        arguments[keyword.arg] = ast.literal_eval(keyword.value)
    return arguments
