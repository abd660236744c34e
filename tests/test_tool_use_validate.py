"""The validator: experts pass every bundled task, mutations of them pass none."""

from dataclasses import replace

from turngym.envs.tool_use.env import ToolUse
from turngym.envs.tool_use.validate import mutations, validate
from turngym.envs.tool_use.worlds import WORLDS, find_task
from turngym.types import ToolCall, assistant


def test_experts_pass_every_task_and_mutations_pass_none():
    assert validate(ToolUse()) == ()


def test_a_task_that_accepts_too_much_is_found(monkeypatch):
    """With no strict item left, doing nothing but the writes is enough: `mute` must be found."""
    from turngym.envs.tool_use import sources

    def lax(task_id):
        world, task = find_task(task_id)
        requests = tuple(
            replace(
                request,
                items=tuple(replace(item, required_for_next_turn=False) for item in request.items),
            )
            for request in task.requests
        )
        return world, replace(task, requests=requests, outputs=())

    monkeypatch.setattr(sources, "find_task", lax)
    found = validate(ToolUse(worlds=("library",)))
    assert {finding.script for finding in found} == {"mute"}


def test_mutations_drop_alter_and_add_writes():
    world, task = WORLDS["library"], WORLDS["library"].task("library/lend/0")
    lending = task.gold_calls[0]
    replies = (assistant("", (lending,)), assistant("Lent."))
    found = dict(mutations(world, task, replies))
    assert set(found) == {"nothing", "mute", "drop_0", "alter_0", "extra"}
    assert found["drop_0"] == (assistant("Lent."),)
    assert found["mute"] == (assistant("", (lending,)), assistant("Well."))
    (changed,) = found["alter_0"][0].tool_calls
    assert isinstance(changed, ToolCall)
    assert changed.arguments != lending.arguments
