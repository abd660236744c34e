"""BFCL's check of one call against possible answers (gorilla@6ea57973), with the calls already read.

Every parameter has a list of values that pass; `""` among them makes it optional. Types must be exact,
but for whole numbers where a float is asked for. Strings are compared without `,./-_*^` and spaces, in
lower case, with one kind of quotes. A parameter that the answer does not name fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from turngym.errors import DataError
from turngym.types import ToolCall

__all__ = ["call_faults", "standardised"]

_TYPES: dict[str, type] = {
    "string": str,
    "integer": int,
    "float": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "dict": dict,
}
_DROPPED = str.maketrans("'", '"', " ,./-_*^")


def standardised(text: str) -> str:
    """The form in which strings are compared.

    Example:
        >>> standardised("New-York, N.Y.")
        'newyorkny'
    """
    return text.translate(_DROPPED).lower()


def call_faults(
    schema: Mapping[str, Any], answer: Mapping[str, Mapping[str, Sequence[Any]]], call: ToolCall
) -> tuple[str, ...]:
    """What is wrong with `call`, one line each; empty when it is right.

    Args:
        schema: the function as BFCL documents it.
        answer: its name -> parameter -> values that pass.
        call: with the full, possibly dotted name.

    Raises:
        DataError: the answer is not about one function, or the schema has an unknown type.
    """
    if len(answer) != 1:
        raise DataError(f"an answer is about one function, got {sorted(answer)}")
    ((name, wanted),) = answer.items()
    if call.name != name:
        return (f"calls {call.name!r}, expected {name!r}",)
    properties = schema["parameters"]["properties"]
    required = schema["parameters"].get("required", ())
    faults = [f"lacks the required {key!r}" for key in required if key not in call.arguments]
    for key, value in call.arguments.items():
        if key not in properties or key not in wanted:
            faults.append(f"has an unexpected {key!r}")
        elif fault := _value_fault(properties[key], wanted[key], value):
            faults.append(f"{key!r} {fault}")
    faults += [
        f"lacks {key!r}, which is not optional"
        for key, values in wanted.items()
        if key not in call.arguments and key not in required and "" not in values
    ]
    return tuple(faults)


def _value_fault(schema: Mapping[str, Any], wanted: Sequence[Any], value: Any) -> str:
    """Why a value fails; '' when it passes."""
    kind = schema["type"]
    if kind != "any" and kind not in _TYPES:
        raise DataError(f"unknown type {kind!r} in a function's schema")
    value = _as_lists(value)
    if kind == "float" and type(value) is int:
        value = float(value)
    if kind != "any" and type(value) is not _TYPES[kind]:
        return f"is {type(value).__name__}, expected {kind}"
    if isinstance(value, list) and (inner := schema.get("items", {}).get("type")):
        expected = _TYPES.get(inner)
        for each in value:
            whole = inner == "float" and type(each) is int
            if expected is not None and type(each) is not expected and not whole:
                return f"holds a {type(each).__name__}, expected {inner}"
    if any(_equal(option, value) for option in wanted):
        return ""
    return f"is {value!r}, expected one of {list(wanted)!r}"


def _equal(option: Any, value: Any) -> bool:
    """Whether a value passes for one possible answer."""
    if isinstance(option, str) and isinstance(value, str):
        return standardised(option) == standardised(value)
    if isinstance(option, dict) and isinstance(value, dict):
        return set(value) <= set(option) and all(
            any(_equal(each, value[key]) for each in values) if key in value else "" in values
            for key, values in option.items()
        )
    if isinstance(option, list) and isinstance(value, list):
        return len(option) == len(value) and all(map(_equal, option, value))
    return isinstance(option, bool) == isinstance(value, bool) and bool(option == value)


def _as_lists(value: Any) -> Any:
    """Tuples as lists, however deep."""
    if isinstance(value, tuple | list):
        return [_as_lists(each) for each in value]
    if isinstance(value, dict):
        return {key: _as_lists(each) for key, each in value.items()}
    return value
