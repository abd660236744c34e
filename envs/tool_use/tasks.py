"""Tasks and worlds: what a simulated user wants, in what state, and how it should end.

A world is data, tools and tasks, and the script of an expert who can do them.
"""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from turngym.envs.splits import SPLITS, Split
from turngym.envs.tool_use.expert import Desk, Script
from turngym.envs.tool_use.tools import State, ToolBox
from turngym.errors import DataError, UnknownNameError
from turngym.rewards.tool_checklist import ChecklistItem
from turngym.rewards.tool_steps import Called, Changed, Check, Says, Untouched
from turngym.types import Message, ToolCall

__all__ = [
    "SPLITS",
    "Answer",
    "Request",
    "Split",
    "Task",
    "Template",
    "World",
    "call",
    "gold_state",
    "item",
    "split_of",
    "templates",
    "weighted",
]

_SPLIT_OF_TEN: tuple[Split, ...] = (
    *("train", "train", "train", "train", "train", "train"),
    *("dev", "dev"),
    *("test", "test"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the user says once, to a question with one of the cues in it."""

    cues: tuple[str, ...]
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One thing the user wants, with what he tells only when asked."""

    opening: str
    items: tuple[ChecklistItem, ...]
    answers: tuple[Answer, ...] = ()
    asks: bool = True
    """A reply with a question mark is a question; False: every reply closes the request (CM2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One conversation: the state it begins in, the requests in order, the calls that settle them."""

    split: Split
    state: State
    requests: tuple[Request, ...]
    gold_calls: tuple[ToolCall, ...]
    outputs: tuple[str, ...] = ()
    """Strings that the agent must tell the user."""
    reference: tuple[Message, ...] = ()
    """What the agent did in the reference dialogue, where there is one."""
    task_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One kind of task. `build` fills in everything but the id."""

    name: str
    build: Callable[[random.Random, Split], Task]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A domain: its policy, its tools and its kinds of task."""

    name: str
    policy: str
    brief: str
    """The policy in a few words, for tiny policies."""
    toolbox: ToolBox
    templates: Mapping[str, Template] = field(default_factory=dict)
    serve: Callable[[str, Desk], Script] | None = None
    """What its scripted expert does with one request (`tool_use.expert`); None: there is no expert."""
    brief_templates: tuple[str, ...] = ()
    """Those whose episodes are short."""

    def tasks(self, split: Split, per_template: int, brief: bool = False) -> tuple[str, ...]:
        """Ids of the tasks of a split: six of ten numbers are train, two dev, two test."""
        names = self.brief_templates if brief else tuple(self.templates)
        return tuple(
            f"{self.name}/{name}/{number}"
            for name in names
            for number in range(per_template)
            if _SPLIT_OF_TEN[number % 10] == split
        )

    def task(self, task_id: str) -> Task:
        """The task of an id, the same in every process.

        Raises:
            UnknownNameError: no such template, or no number.
        """
        _, _, rest = task_id.partition("/")
        name, _, number = rest.partition("/")
        if name not in self.templates or not number.isdecimal() or str(int(number)) != number:
            known = (f"{self.name}/{each}/0" for each in self.templates)
            raise UnknownNameError("task", task_id, known)
        return _built(self.templates[name], task_id, int(number))


@functools.lru_cache(maxsize=1024)
def _built(template: Template, task_id: str, number: int) -> Task:
    split = _SPLIT_OF_TEN[number % 10]
    made = template.build(random.Random(task_id), split)
    return replace(made, task_id=task_id)


def split_of(key: str) -> Split:
    """The split of a task of a file, by its id alone: six of ten are train, two dev, two test."""
    digest = hashlib.blake2b(key.encode(), digest_size=8).hexdigest()
    return _SPLIT_OF_TEN[int(digest, 16) % 10]


def templates(*builders: Callable[[random.Random, Split], Task]) -> dict[str, Template]:
    """Templates by name, which is that of the function without a leading underscore."""
    names = [build.__name__.removeprefix("_") for build in builders]
    return {n: Template(name=n, build=build) for n, build in zip(names, builders, strict=True)}


def call(name: str, /, **arguments: Any) -> ToolCall:
    """A gold call."""
    return ToolCall(id="gold", name=name, arguments=arguments)


def item(
    id: str, question: str, check: Check, *, after: tuple[str, ...] = (), strict: bool = True
) -> ChecklistItem:
    """An item of weight 1, to be scaled by `weighted`; its focus follows from the check."""
    focus: Any = {
        Called: ("assistant.tool_calls",),
        Changed: ("tool.content",),
        Says: ("assistant.content.user_visible_reply",),
        Untouched: ("assistant.content.user_visible_reply",),
    }[type(check)]
    return ChecklistItem(
        id=id,
        question=question,
        check=check,
        weight=1.0,
        focus_on=focus,
        required_for_next_turn=strict,
        dependence=after,
    )


def weighted(*items: ChecklistItem) -> tuple[ChecklistItem, ...]:
    """The items with equal weights that sum to 1."""
    return tuple(replace(each, weight=1 / len(items)) for each in items)


def gold_state(world: World, task: Task) -> State:
    """The state after the gold calls.

    Raises:
        DataError: a gold call fails, so the task is wrong.
    """
    state = task.state
    for each in task.gold_calls:
        state, result = world.toolbox.call(state, each)
        if not result.ok:
            raise DataError(f"gold call {each.name} of {task.task_id} fails: {result.content}")
    return state
