"""Tools that are known by their JSON schema alone: those of task files and of MCP servers."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

from turngym.envs.tool_use.tools import FaultyArgumentsError, Tool
from turngym.errors import DataError, EnvironmentFailure, closest

__all__ = ["schema_tool", "tool_from_json"]

_SHOWN = 200


def schema_tool(
    name: str,
    parameters: Mapping[str, Any],
    function: Callable[..., Any],
    *,
    description: str = "",
    writes: bool = False,
    strict: bool = True,
) -> Tool:
    """A tool whose arguments are checked against a JSON schema (draft 2020-12).

    Args:
        name: what the agent calls.
        parameters: schema of an object; no properties means no arguments.
        function: takes the state and the arguments by name.
        description: for the agent.
        writes: whether it changes the state.
        strict: unknown arguments are refused, unless the schema has `additionalProperties`.

    Raises:
        DataError: `parameters` is no JSON schema of an object.
    """
    schema = _checked(name, parameters, strict)
    return Tool(
        name=name,
        description=description,
        parameters=schema,
        read=functools.partial(_read, json.dumps(schema), name),
        function=function,
        writes=writes,
        strict=strict,
    )


def _checked(name: str, parameters: Mapping[str, Any], strict: bool) -> dict[str, Any]:
    """The schema with what it may leave out."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    schema = {"type": "object", "properties": {}, **parameters}
    if strict:
        schema.setdefault("additionalProperties", False)
    if schema["type"] != "object" or not isinstance(schema["properties"], dict):
        raise DataError(f"tool {name!r}: expected the schema of an object, got {schema!r:.200}")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        place = "/".join(map(str, error.absolute_path)) or "its top"
        raise DataError(
            f"tool {name!r} has a broken schema, at {place}: {error.message:.200}"
        ) from error
    return schema


def _read(schema: str, name: str, text: str) -> Mapping[str, Any]:
    arguments: Mapping[str, Any] = json.loads(text)
    validator = _validator(schema)
    try:
        faults = [_fault(each, validator.schema) for each in validator.iter_errors(arguments)]
    except Exception as error:  # such as a $ref that leads nowhere, which no check finds
        raise EnvironmentFailure(f"the schema of tool {name!r} cannot be used: {error}") from error
    if faults:
        raise FaultyArgumentsError(faults[:10])
    return arguments


@functools.lru_cache(maxsize=1024)
def _validator(schema: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(schema))


def tool_from_json(data: Any, function: Callable[..., Any], *, writes: bool = False) -> Tool:
    """A tool from the OpenAI form, `{"type": "function", "function": {...}}` or its inner part.

    Raises:
        DataError: no name, or a broken schema.
    """
    inner = data.get("function", data) if isinstance(data, dict) else data
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        raise DataError(f"a tool needs a name, got {data!r:.200}")
    parameters = inner.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise DataError(f"tool {inner['name']!r}: expected parameters, got {parameters!r:.200}")
    return schema_tool(
        inner["name"],
        parameters,
        function,
        description=str(inner.get("description") or ""),
        writes=writes,
        strict=inner.get("strict") is not False,
    )


def _fault(error: Any, schema: Mapping[str, Any]) -> str:
    place = ".".join(str(part)[:_SHOWN] for part in error.absolute_path) or "arguments"
    hint = ""
    if error.validator == "additionalProperties" and not error.absolute_path:
        known = schema["properties"]
        hint = next((closest(k[:_SHOWN], known) for k in error.instance if k not in known), "")
    return f"{place}: {error.message[:_SHOWN]}.{hint}"
