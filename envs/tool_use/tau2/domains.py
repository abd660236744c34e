"""tau2-bench's domains: tools of both sides, and the files they start from."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from turngym.envs.tool_use.tau2 import mock, phone, phone_scene, phone_state, retail, telecom
from turngym.envs.tool_use.tau2.tasks import EnvCall, Requestor, Tau2Task
from turngym.envs.tool_use.tools import State, ToolBox, ToolResult
from turngym.errors import DataError, UnknownNameError, closest
from turngym.types import ToolCall

__all__ = ["DOMAINS", "Domain", "function_result", "load_domain", "start_state"]

_NONE = ToolBox(())


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """One domain with its files read."""

    name: str
    policy: str
    state: State = field(repr=False)
    """Tables of the agent's and of the user's side, in one."""
    agent: ToolBox
    user: ToolBox = _NONE
    scene: ToolBox = _NONE
    """Functions that set the scene and that assert, besides the tools."""

    def toolbox(self, side: str) -> ToolBox:
        """The tools of one side."""
        return self.agent if side == "assistant" else self.user


def _load_mock(folder: Path) -> Domain:
    return Domain(
        name="mock",
        policy=_text(folder / "policy.md"),
        state={**_json(folder / "db.json"), **_json(folder / "user_db.json")},
        agent=mock.MOCK,
        user=mock.MOCK_USER,
        scene=_together(mock.SET_UP, mock.ASSERTIONS),
    )


def _load_retail(folder: Path) -> Domain:
    return Domain(
        name="retail",
        policy=_text(folder / "policy.md"),
        state=_json(folder / "db.json"),
        agent=retail.RETAIL2,
    )


def _load_telecom(folder: Path) -> Domain:
    agent = telecom.prepare(_toml(folder / "db.toml"))
    user = phone_state.prepare(_toml(folder / "user_db.toml"))
    policy = "\n\n".join(_text(folder / f"{n}.md") for n in ("main_policy", "tech_support_manual"))
    return Domain(
        name="telecom",
        policy=policy,
        state={**agent, **user},
        agent=telecom.TELECOM,
        user=phone.PHONE,
        scene=_together(
            telecom.SET_UP, telecom.ASSERTIONS, phone_scene.SET_UP, phone_scene.ASSERTIONS
        ),
    )


DOMAINS = {"mock": _load_mock, "retail": _load_retail, "telecom": _load_telecom}


def load_domain(name: str, folder: Path) -> Domain:
    """A domain from its files, such as `db.json` and `policy.md`.

    Raises:
        UnknownNameError: no such domain.
        DataError: a file is missing or cannot be read.
    """
    if name not in DOMAINS:
        raise UnknownNameError("tau2 domain", name, DOMAINS)
    return DOMAINS[name](folder)


def start_state(domain: Domain, task: Tau2Task) -> State:
    """The state that a task begins in; what was done in its history is done.

    Raises:
        DataError: the scene cannot be set.
    """
    state: State = _merged(domain.state, task.data)
    for each in task.set_up:
        state = _done(domain, state, each)
    for message in task.history:
        for call in message.tool_calls:
            side: Requestor = "user" if message.role == "user" else "assistant"
            made = EnvCall(side=side, name=call.name, arguments=call.arguments)
            state = _done(domain, state, made)
    return state


def function_result(domain: Domain, state: State, call: EnvCall) -> tuple[State, ToolResult]:
    """The state after a function of the domain or a tool of its side, and the result.

    Raises:
        DataError: there is no such function.
    """
    for box in (domain.scene, domain.toolbox(call.side)):
        if call.name in box.tools:
            made = ToolCall(id="0", name=call.name, arguments=call.arguments)
            return box.call(state, made)
    known = [*domain.scene.tools, *domain.toolbox(call.side).tools]
    raise DataError(f"{domain.name} has no function {call.name!r}.{closest(call.name, known)}")


def _done(domain: Domain, state: State, call: EnvCall) -> State:
    state, result = function_result(domain, state, call)
    if not result.ok:
        raise DataError(f"{domain.name}: {call.name} fails: {result.content}")
    return state


def _merged(base: Any, new: Any) -> Any:
    """`base` with `new` on top, table by table and record by record; shares what it does not change."""
    if not isinstance(base, dict) or not isinstance(new, Mapping):
        return new
    return {**base, **{key: _merged(base.get(key), value) for key, value in new.items()}}


def _together(*boxes: ToolBox) -> ToolBox:
    return ToolBox(tool for box in boxes for tool in box.tools.values())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except ValueError as error:
        raise DataError(f"{path} is no JSON: {error}") from error


def _toml(path: Path) -> Any:
    try:
        return tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path} is no TOML: {error}") from error
