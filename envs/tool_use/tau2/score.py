"""Replay and reward of a tau2-bench conversation, every check exposed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from turngym.envs.tool_use.conversation import SideCall
from turngym.envs.tool_use.state import same_world
from turngym.envs.tool_use.tau2.domains import Domain, function_result, start_state
from turngym.envs.tool_use.tau2.tasks import EnvCall, Tau2Task
from turngym.envs.tool_use.tools import State, ToolResult, call_all
from turngym.rewards.tool_basis import Component, action_checks, basis_reward
from turngym.rewards.tool_steps import communicated
from turngym.types import ToolCall

__all__ = ["Tau2Score", "gold_state", "replay", "score"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tau2Score:
    """Every check of one conversation, in the reward basis or not."""

    reward: float | None
    """None where the basis needs a judge and there is none."""
    components: Mapping[Component, float | None]
    actions: tuple[bool, ...]
    assertions: tuple[bool, ...]
    outputs: Mapping[str, bool]
    judged: Mapping[str, bool]


def replay(
    domain: Domain, task: Tau2Task, calls: Sequence[SideCall]
) -> tuple[State, tuple[ToolResult, ...]]:
    """The state at the end and every result; a call of an unknown tool is a result like any other."""
    start = start_state(domain, task)
    return call_all(start, ((domain.toolbox(each.side), each.call) for each in calls))


def gold_state(domain: Domain, task: Tau2Task) -> State | None:
    """The state after the wanted actions; None where the task wants none."""
    if task.actions is None:
        return None
    calls = [
        SideCall(
            side=each.requestor,
            call=ToolCall(id="gold", name=each.name, arguments=each.arguments),
        )
        for each in task.actions
    ]
    return replay(domain, task, calls)[0]


def score(
    domain: Domain,
    task: Tau2Task,
    calls: Sequence[SideCall],
    replies: Sequence[str],
    *,
    termination: str = "user_stop",
    judge: Callable[[str], bool] | None = None,
    preset: Literal["strict", "released"] = "strict",
) -> Tau2Score:
    """The reward of a conversation with its checks.

    Args:
        domain: where it took place.
        task: what was wanted.
        calls: of both sides, in order, `task.history` not among them.
        replies: what the agent told the user.
        termination: as `basis_reward` takes it.
        judge: decides a sentence of `task.judged`; None leaves NL_ASSERTION without a value.
        preset: how actions are compared (`action_checks`).

    Raises:
        JudgeFailure: the judge failed.
    """
    state, _ = replay(domain, task, calls)
    gold = gold_state(domain, task)
    sides: dict[str, list[ToolCall]] = {"assistant": [], "user": []}
    for each in calls:
        sides[each.side].append(each.call)
    actions = action_checks(task.actions or (), sides, preset)
    met = tuple(_met(domain, state, each) for each in task.assertions)
    outputs = communicated(task.outputs, replies)
    judged = {} if judge is None else {text: judge(text) for text in task.judged}
    components: dict[Component, float | None] = {
        "DB": float(gold is None or same_world(state, gold)),
        "ACTION": float(all(actions)),
        "ENV_ASSERTION": float(all(met)),
        "COMMUNICATE": float(all(outputs.values())),
        "NL_ASSERTION": None if judge is None and task.judged else float(all(judged.values())),
    }
    open_parts = [name for name in task.basis if components[name] is None]
    reward = None if open_parts else basis_reward(components, task.basis, termination)
    return Tau2Score(
        reward=reward,
        components=components,
        actions=actions,
        assertions=met,
        outputs=outputs,
        judged=judged,
    )


def _met(domain: Domain, state: State, wanted: EnvCall) -> bool:
    """Whether an assertion holds; one about a record that does not exist does not."""
    _, result = function_result(domain, state, wanted)
    return result.ok and result.value == wanted.wanted
