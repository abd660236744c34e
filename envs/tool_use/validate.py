"""Is every task solvable, and is nothing else worth as much?

Plays the expert, or what the agent did in a reference dialogue, and mutations of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from turngym.envs.tool_use.env import ToolUse
from turngym.envs.tool_use.tasks import SPLITS, Task, World, gold_state
from turngym.errors import SimulatorFailure
from turngym.types import Message, ToolCall, assistant

__all__ = ["Finding", "mutations", "validate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One task on which the environment pays what it should not."""

    task_id: str
    script: str
    """`gold`, or the name of the mutation."""
    outcome: float
    expected: float


def validate(env: ToolUse) -> tuple[Finding, ...]:
    """What is wrong with the tasks of `env`, which takes tool calls as JSON; empty when all is well."""
    found = []
    for task_id in (each for split in SPLITS for each in env.tasks(split)):
        world, task = env.source.find(task_id)
        replies = task.reference or _expert_replies(env, task_id)
        for name, script, expected in (
            ("gold", replies, 1.0),
            *((name, script, 0.0) for name, script in mutations(world, task, replies)),
        ):
            outcome = _play(env, task_id, script)
            if outcome != expected:
                finding = Finding(task_id=task_id, script=name, outcome=outcome, expected=expected)
                found.append(finding)
    return tuple(found)


def mutations(
    world: World, task: Task, replies: Sequence[Message]
) -> Iterator[tuple[str, tuple[Message, ...]]]:
    """Name and replies of wrong variants of a solution.

    `nothing`: closes at once. `mute`: tells the user nothing. `drop_n`: leaves the n-th write out.
    `alter_n`: writes to another record or another number there. `extra`: one more write before the end.
    """
    yield "nothing", (assistant("Done."),)
    yield "mute", tuple(_mute(reply) for reply in replies)
    writes = [n for n, reply in enumerate(replies) if _writes(world, reply)]
    for place in writes:
        yield f"drop_{place}", (*replies[:place], *replies[place + 1 :])
        for other in _altered(task, replies[place].tool_calls[0]):
            changed = assistant("", (other,))
            yield f"alter_{place}", (*replies[:place], changed, *replies[place + 1 :])
    end = gold_state(world, task)
    for place in writes:
        for other in _altered(task, replies[place].tool_calls[0]):
            if world.toolbox.call(end, other)[0] != end:
                yield "extra", (*replies[:-1], assistant("", (other,)), replies[-1])


def _expert_replies(env: ToolUse, task_id: str) -> tuple[Message, ...]:
    new, _ = env.reset(options={"task_id": task_id})
    messages, replies, over = list(new), [], False
    while not over:
        action = env.expert(messages)
        reply = assistant(action) if isinstance(action, str) else action
        new, _, terminated, truncated, _ = env.step(reply)
        messages += [reply, *new]
        replies.append(reply)
        over = terminated or truncated
    return tuple(replies)


def _play(env: ToolUse, task_id: str, replies: Sequence[Message]) -> float:
    """The outcome of fixed replies; 0 when they do not bring the episode to an end.

    A call that no simulator can answer is no solution either.
    """
    env.reset(options={"task_id": task_id})
    for reply in replies:
        try:
            *_, terminated, truncated, info = env.step(reply)
        except SimulatorFailure:
            return 0.0
        if terminated or truncated:
            return float(info.get("outcome", 0.0))
    return 0.0


def _mute(reply: Message) -> Message:
    if reply.tool_calls:
        return reply
    return assistant("Well?" if "?" in reply.content else "Well.")


def _writes(world: World, reply: Message) -> bool:
    return any(world.toolbox.tools[call.name].writes for call in reply.tool_calls)


def _altered(task: Task, call: ToolCall) -> Iterator[ToolCall]:
    """The call with one number at a time one higher, or one id that of another record of its table."""
    tables: list[dict[str, Any]] = [each for each in task.state.values() if isinstance(each, dict)]
    for name, value in call.arguments.items():
        if type(value) is int:
            yield replace(call, arguments={**call.arguments, name: value + 1})
        for table in tables:
            for other in table if isinstance(value, str) and value in table else ():
                if other != value:
                    yield replace(call, arguments={**call.arguments, name: other})
