"""Tools: typed Python functions that an agent calls with JSON arguments.

    @tool(writes=True)
    def lend(state: State, card: str, book: str) -> str:
        '''Lend a book to a member.'''

The first parameter is the state of the world, plain data that the tool reads or changes; the others
are what the agent gives. Whatever is wrong with a call becomes a `ToolResult` for the agent.
"""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import json
import pickle
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from turngym.errors import ConfigError, EnvironmentFailure, NotTheAgentsFault, closest
from turngym.types import ToolCall

__all__ = [
    "ErrorCode",
    "FaultyArgumentsError",
    "RefusedError",
    "State",
    "Tool",
    "ToolBox",
    "ToolResult",
    "call_all",
    "copied",
    "tool",
]

State = dict[str, Any]
"""The world as plain data: dicts with string keys, lists, strings, numbers, booleans, None."""
ErrorCode = Literal["unknown_tool", "malformed_arguments", "invalid_arguments", "refused"]
MAX_ARGUMENT_BYTES = 65_536
_SHOWN = 200


class RefusedError(Exception):
    """A tool cannot do what was asked: no such record, a rule of the world. Told to the agent."""


class FaultyArgumentsError(Exception):
    """Arguments do not fit a tool: one line per fault. Told to the agent."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What one call came to."""

    value: Any = None
    """JSON data that the tool gave; None when it failed."""
    code: ErrorCode | None = None
    """None when the call succeeded."""
    message: str = ""
    details: tuple[str, ...] = ()
    """One line per faulty argument."""

    @property
    def ok(self) -> bool:
        """Whether the tool ran and did what was asked."""
        return self.code is None

    @property
    def content(self) -> str:
        """Compact JSON: the value, or `{"error_tool_call": {code, message, details}}` (CM2)."""
        if self.ok:
            return _json(self.value)
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.details:
            error["details"] = list(self.details)
        return _json({"error_tool_call": error})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool; made by `tool`, or from a JSON schema by `schema_tools.schema_tool`."""

    name: str
    description: str
    parameters: Mapping[str, Any] = field(repr=False)
    """JSON schema of the arguments, an object with `properties`."""
    read: Callable[[str], Mapping[str, Any]] = field(repr=False)
    """Arguments as JSON text -> what `function` takes by name.

    Raises `FaultyArgumentsError` when they do not fit.
    """
    function: Callable[..., Any] = field(repr=False)
    writes: bool = False
    """Whether it changes the state; a tool that does not say so must leave it alone."""
    strict: bool = True
    """Whether unknown arguments are refused."""

    @property
    def schema(self) -> dict[str, Any]:
        """The OpenAI function schema."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": copy.deepcopy(dict(self.parameters)),
            "strict": self.strict,
        }
        return {"type": "function", "function": function}

    def __reduce_ex__(self, protocol: Any) -> Any:
        """By name where a module holds it, since a made-up argument class cannot be pickled."""
        module = self.function.__module__ if inspect.isfunction(self.function) else ""
        if getattr(sys.modules.get(module), self.name, None) is self:
            return _tool_of, (module, self.name)
        return object.__reduce_ex__(self, protocol)

    @property
    def signature(self) -> str:
        """The call as one short line, such as `lend(card, book)`."""
        return f"{self.name}({', '.join(self.parameters['properties'])})"


def tool(*, writes: bool = False) -> Callable[[Callable[..., Any]], Tool]:
    """Decorator that makes a typed function a Tool: its docstring is the description.

    Raises:
        ConfigError: the function has no state parameter, or one without a type.
    """

    def make(function: Callable[..., Any]) -> Tool:
        name = function.__name__
        hints = get_type_hints(function, include_extras=True)
        parameters = list(inspect.signature(function).parameters.values())
        if not parameters:
            raise ConfigError(f"tool {name!r} needs the state as its first parameter")
        fields: dict[str, Any] = {}
        for parameter in parameters[1:]:
            if parameter.name not in hints:
                raise ConfigError(f"parameter {parameter.name!r} of tool {name!r} has no type")
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[parameter.name] = (hints[parameter.name], default)
        arguments = create_model(
            name, __config__=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False), **fields
        )
        return Tool(
            name=name,
            description=inspect.getdoc(function) or "",
            parameters=_parameters(arguments),
            read=functools.partial(_read, arguments),
            function=function,
            writes=writes,
        )

    return make


def _tool_of(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


class ToolBox:
    """The tools of one world, by name."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self.tools: Mapping[str, Tool] = {}
        for item in tools:
            if item.name in self.tools:
                raise ConfigError(f"two tools are called {item.name!r}")
            self.tools = {**self.tools, item.name: item}

    @property
    def schemas(self) -> tuple[dict[str, Any], ...]:
        """The OpenAI function schemas, in the order given."""
        return tuple(item.schema for item in self.tools.values())

    def call(self, state: State, call: ToolCall) -> tuple[State, ToolResult]:
        """The state after `call` and its result. `state` itself is left as it is.

        A call that fails changes nothing, however far it got.

        Raises:
            EnvironmentFailure: the tool itself is broken; the agent is not to blame.
            NotTheAgentsFault: whatever else of this kind the tool raises.
        """
        found = self.tools.get(call.name)
        if found is None or not found.writes:
            return state, self._run(state, call)
        after = copied(state)
        result = self._run(after, call)
        return (after if result.ok else state), result

    def call_in_place(self, state: State, call: ToolCall) -> ToolResult:
        """As `call`, on `state` itself: it is of no further use when a tool that writes fails."""
        return self._run(state, call)

    def _run(self, state: State, call: ToolCall) -> ToolResult:
        found = self.tools.get(call.name)
        if found is None:
            hint = closest(call.name[:_SHOWN], self.tools)
            message = f"there is no tool {call.name[:_SHOWN]!r}.{hint}"
            return ToolResult(code="unknown_tool", message=message)
        checked = _check(found, call.arguments)
        if isinstance(checked, ToolResult):
            return checked
        try:
            # Through JSON: what the tool gives must be plain data, and stays apart from the state.
            return ToolResult(value=json.loads(_json(found.function(state, **checked))))
        except RefusedError as error:
            return ToolResult(code="refused", message=str(error))
        except NotTheAgentsFault:
            raise
        except Exception as error:
            raise EnvironmentFailure(
                f"tool {call.name!r} broke on {call.arguments!r:.200}: "
                f"{type(error).__name__}: {error}"
            ) from error


def copied(state: State) -> State:
    """An independent copy, five times as fast as deepcopy makes it."""
    found: State = pickle.loads(pickle.dumps(state, pickle.HIGHEST_PROTOCOL))
    return found


def call_all(
    state: State, calls: Iterable[tuple[ToolBox, ToolCall]]
) -> tuple[State, tuple[ToolResult, ...]]:
    """As one `ToolBox.call` after the other, with one copy of the state where no write fails."""
    done: list[tuple[ToolBox, ToolCall]] = []
    now, results = state, []
    for box, call in calls:
        if call.name in box.tools and box.tools[call.name].writes:
            now = copied(state) if now is state else now
            result = box.call_in_place(now, call)
            if result.ok:
                done.append((box, call))
            elif result.code == "refused":  # it may have got half-way: start again without it
                now = copied(state)
                for earlier in done:
                    earlier[0].call_in_place(now, earlier[1])
        else:
            result = box.call_in_place(now, call)
        results.append(result)
    return now, tuple(results)


def _check(found: Tool, arguments: Mapping[str, Any]) -> Mapping[str, Any] | ToolResult:
    """The arguments by name with their Python types, or what is wrong with them."""
    try:
        text = json.dumps(dict(arguments), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        message = f"the arguments are not JSON: {str(error)[:_SHOWN]}"
        return ToolResult(code="malformed_arguments", message=message)
    if len(text) > MAX_ARGUMENT_BYTES:
        message = f"the arguments take {len(text)} bytes, at most {MAX_ARGUMENT_BYTES} are read"
        return ToolResult(code="malformed_arguments", message=message)
    try:
        return found.read(text)
    except FaultyArgumentsError as error:
        message = f"{found.name} takes {found.signature}"
        return ToolResult(code="invalid_arguments", message=message, details=error.faults[:10])


def _parameters(arguments: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema without the titles that pydantic makes up."""
    parameters = arguments.model_json_schema()
    for part in (parameters, *parameters.get("properties", {}).values()):
        part.pop("title", None)
    parameters.setdefault("properties", {})
    return parameters


def _read(arguments: type[BaseModel], text: str) -> dict[str, Any]:
    try:
        model = arguments.model_validate_json(text)
    except ValidationError as error:
        known = arguments.model_fields
        raise FaultyArgumentsError(_fault(item, known) for item in error.errors()[:10]) from error
    return {name: getattr(model, name) for name in type(model).model_fields}


def _fault(item: Any, known: Iterable[str]) -> str:
    place = ".".join(str(part)[:_SHOWN] for part in item["loc"]) or "arguments"
    hint = closest(place, known) if item["type"] == "extra_forbidden" else ""
    return f"{place}: {item['msg'][:_SHOWN]}.{hint}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
