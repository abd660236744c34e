"""tau2-bench's task files (arXiv 2506.07982; sierra-research/tau2-bench@a2c0247)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from turngym.errors import DataError
from turngym.rewards.tool_basis import DEFAULT_BASIS, Component, GoldAction
from turngym.types import Message, Role, ToolCall

__all__ = ["EnvCall", "Requestor", "Tau2Task", "load_tasks", "task_from_json"]

Requestor = Literal["assistant", "user"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvCall:
    """A function of the agent's or the user's side: to set the scene, or to assert how it ended."""

    side: Requestor
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    wanted: bool = True
    """What an assertion must give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tau2Task:
    """One task: what the user wants, how the scene is set, what is checked."""

    id: str
    scenario: str
    """The user's instructions as text."""
    ticket: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Merged into the state before the start."""
    set_up: tuple[EnvCall, ...] = ()
    history: tuple[Message, ...] = ()
    """What was said and done before the episode."""
    actions: tuple[GoldAction, ...] | None = None
    """None: no end state is wanted; empty: nothing may be written."""
    assertions: tuple[EnvCall, ...] = ()
    outputs: tuple[str, ...] = ()
    """Strings that the agent must tell the user."""
    judged: tuple[str, ...] = ()
    """Sentences about the conversation that a judge decides."""
    basis: tuple[Component, ...] = DEFAULT_BASIS


def load_tasks(path: Path) -> tuple[Tau2Task, ...]:
    """The tasks of a `tasks.json`.

    Raises:
        DataError: not readable, no JSON list, or a task lacks what it needs.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if not isinstance(rows, list):
        raise DataError(f"{path} holds a {type(rows).__name__}, expected a list of tasks")
    return tuple(task_from_json(row, f"{path}, task {n}") for n, row in enumerate(rows))


def task_from_json(row: Any, where: str = "task") -> Tau2Task:
    """One task from plain data.

    Raises:
        DataError: it does not have the form of a task; names `where`.
    """
    try:
        start = row.get("initial_state") or {}
        data = start.get("initialization_data") or {}
        wanted = row.get("evaluation_criteria") or {}
        actions = wanted.get("actions")
        basis = wanted.get("reward_basis") or DEFAULT_BASIS
        if unknown := set(basis) - set(get_args(Component)):
            raise DataError(f"{where}: unknown reward basis {sorted(unknown)}")
        return Tau2Task(
            id=str(row["id"]),
            scenario=_scenario(row.get("user_scenario")),
            ticket=row.get("ticket") or "",
            data={**(data.get("agent_data") or {}), **(data.get("user_data") or {})},
            set_up=tuple(_call(each) for each in start.get("initialization_actions") or ()),
            history=tuple(_message(each) for each in start.get("message_history") or ()),
            actions=None if actions is None else tuple(_action(each) for each in actions),
            assertions=tuple(_call(each) for each in wanted.get("env_assertions") or ()),
            outputs=tuple(wanted.get("communicate_info") or ()),
            judged=tuple(wanted.get("nl_assertions") or ()),
            basis=cast(tuple[Component, ...], tuple(basis)),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{where}: {type(error).__name__}: {error}") from error


def _scenario(scenario: Any) -> str:
    if scenario is None:
        return ""
    told = scenario.get("instructions", scenario) if isinstance(scenario, dict) else scenario
    if isinstance(told, str):
        return told
    parts = [scenario.get("persona"), *told.values()]
    return "\n".join(str(part) for part in parts if part)


def _call(row: Mapping[str, Any]) -> EnvCall:
    wanted = row.get("assert_value")
    return EnvCall(
        side=row["env_type"],
        name=row["func_name"],
        arguments=row.get("arguments") or {},
        wanted=True if wanted is None else bool(wanted),
    )


def _action(row: Mapping[str, Any]) -> GoldAction:
    compared = row.get("compare_args")
    return GoldAction(
        name=row["name"],
        arguments=row.get("arguments") or {},
        requestor=row.get("requestor") or "assistant",
        compare_args=None if compared is None else tuple(compared),
    )


def _message(row: Mapping[str, Any]) -> Message:
    calls = tuple(
        ToolCall(id=str(each["id"]), name=each["name"], arguments=each["arguments"])
        for each in row.get("tool_calls") or ()
    )
    role = cast(Role, row["role"])
    answered = str(row["id"]) if role == "tool" else None
    return Message(
        role=role, content=row.get("content") or "", tool_calls=calls, tool_call_id=answered
    )
