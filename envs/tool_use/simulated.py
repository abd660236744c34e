"""CM2's hybrid tool simulator: a recorded call, else the schema, else a language model.

    1. the call equals a recorded one (arguments in canonical form): the recorded answer
    2. it does not fit the tool's schema: an error
    3. an agent makes up an answer, after recorded examples and what it has answered before

Without an agent it is a replay back-end: a call that nothing was recorded for is a `SimulatorFailure`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from turngym.envs.canonical import digest
from turngym.envs.tool_use.schema_tools import tool_from_json
from turngym.envs.tool_use.tools import State, ToolBox, ToolResult
from turngym.errors import SimulatorFailure
from turngym.rewards.asking import UnreadableError, ask, json_object
from turngym.types import Agent, Message, Sampling, ToolCall, system, user

__all__ = ["RecordedCall", "SimulatedTools"]

_MAX_EXAMPLES, _MAX_SHOWN = 5, 4_000
_RULES = (
    "You play a tool. Given its JSON schema, examples of its answers and the calls so far, answer one "
    "call as the tool would: in the form of the examples and in keeping with the earlier answers. Reply "
    'with one JSON object and nothing else: {"analysis": text, "execution_result": the answer}.'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCall:
    """A call of the reference dialogue and what the tool answered."""

    call: ToolCall
    answer: str


class SimulatedTools(ToolBox):
    """Tools that are known by their schemas and by recorded calls.

    Args:
        schemas: in the OpenAI form.
        recorded: the reference dialogue's calls.
        agent: makes up answers; None replays alone.
        attempts: replies asked for until one can be read.
        timeout_s: seconds for a reply.

    Raises:
        DataError: a broken schema.
        ConfigError: two tools of one name.
    """

    def __init__(
        self,
        schemas: Iterable[Mapping[str, Any]],
        recorded: Sequence[RecordedCall] = (),
        agent: Agent | None = None,
        *,
        attempts: int = 3,
        timeout_s: float = 60.0,
    ) -> None:
        super().__init__(
            tool_from_json(each, functools.partial(self._answer, str(_name(each))), writes=True)
            for each in schemas
        )
        self._recorded = recorded
        self._answers = {_key(each.call): each.answer for each in reversed(recorded)}
        self._agent = agent
        self._attempts = attempts
        self._timeout_s = timeout_s

    def call(self, state: State, call: ToolCall) -> tuple[State, ToolResult]:
        """The state, which keeps the calls so far, and the result.

        Raises:
            SimulatorFailure: no answer can be had, which is not the agent's fault.
        """
        answer = self._answers.get(key) if (key := _key(call)) else None
        if answer is None or call.name not in self.tools:
            return super().call(state, call)
        return _after(state, call.name, call.arguments, answer), ToolResult(value=_data(answer))

    def _answer(self, name: str, state: State, /, **arguments: Any) -> Any:
        value = self._made_up(state, name, arguments)
        state |= _after(state, name, arguments, json.dumps(value))
        return value

    def _made_up(self, state: State, name: str, arguments: Mapping[str, Any]) -> Any:
        if self._agent is None:
            raise SimulatorFailure(
                f"no answer was recorded for {name}({json.dumps(arguments)[:200]})"
            )
        try:
            (answer,) = ask(
                self._agent,
                (system(_RULES), user(self._prompt(state, name, arguments))),
                _execution_result,
                attempts=self._attempts,
                timeout_s=self._timeout_s,
                sampling=Sampling(temperature=0.0),
            )
        except UnreadableError as error:
            raise SimulatorFailure(f"no answer for {name} {error}") from error
        return answer

    def _prompt(self, state: State, name: str, arguments: Mapping[str, Any]) -> str:
        same = [each for each in self._recorded if each.call.name == name]
        others = [each for each in self._recorded if each.call.name != name]
        examples = "\n".join(
            _line(each.call.name, each.call.arguments, each.answer)
            for each in [*same, *others][:_MAX_EXAMPLES]
        )
        made = "\n".join(_line(*each) for each in state.get("_calls", ())[-_MAX_EXAMPLES:])
        return (
            f"Tool: {json.dumps(self.tools[name].schema['function'])}\n\nExamples:\n"
            f"{examples or '(none)'}\n\nCalls so far:\n{made or '(none)'}\n\n"
            f"Answer this call: {_line(name, arguments, '')}"
        )


def _execution_result(message: Message) -> tuple[Any] | None:
    """The answer in a tuple, since an answer may be null."""
    data = json_object(message.content)
    if data is None or tuple(data) != ("analysis", "execution_result"):
        return None
    return (data["execution_result"],)


def _after(state: State, name: str, arguments: Mapping[str, Any], answer: str) -> State:
    return {**state, "_calls": [*state.get("_calls", ()), [name, dict(arguments), answer]]}


def _line(name: str, arguments: Mapping[str, Any], answer: str) -> str:
    shown = f" -> {answer[:_MAX_SHOWN]}" if answer else ""
    return f"{name}({json.dumps(dict(arguments))[:_MAX_SHOWN]}){shown}"


def _key(call: ToolCall) -> str:
    """Equal for equal names and arguments, whatever the order of keys; '' for what is no JSON."""
    try:
        return digest((call.name, json.loads(json.dumps(dict(call.arguments), allow_nan=False))))
    except (TypeError, ValueError, RecursionError):
        return ""


def _name(schema: Mapping[str, Any]) -> Any:
    inner = schema.get("function", schema) if isinstance(schema, dict) else {}
    return inner.get("name") if isinstance(inner, dict) else None


def _data(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
