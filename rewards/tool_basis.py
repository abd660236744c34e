"""tau2-bench's reward (arXiv 2506.07982): a product over the task's reward basis, every check exposed.

    R = product over the basis of its components, and 0 unless agent or user ended the conversation

Checks outside the basis are computed and shown too: an episode may earn 1 while its actions differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from turngym.errors import JudgeFailure
from turngym.types import ToolCall

__all__ = ["DEFAULT_BASIS", "Component", "GoldAction", "action_checks", "basis_reward"]

Component = Literal["DB", "COMMUNICATE", "ACTION", "ENV_ASSERTION", "NL_ASSERTION"]
DEFAULT_BASIS: tuple[Component, ...] = ("DB", "COMMUNICATE")
_PROPER_ENDS = frozenset({"agent_stop", "user_stop"})


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldAction:
    """A call that a task wants to see."""

    name: str
    arguments: Mapping[str, Any]
    requestor: Literal["assistant", "user"] = "assistant"
    """Whose call it is: in some domains the user has tools too."""
    compare_args: tuple[str, ...] | None = None
    """Arguments that must agree; None compares them all."""


def action_checks(
    gold: Sequence[GoldAction],
    calls: Mapping[str, Sequence[ToolCall]],
    preset: Literal["strict", "released"] = "strict",
) -> tuple[bool, ...]:
    """For each gold action, whether a call of its requestor fits it.

    Args:
        gold: the wanted calls.
        calls: requestor -> calls in the whole conversation.
        preset: with `compare_args=None` the released code compares the arguments that the *call* has,
            so that a call without any passes; `strict` wants the same arguments.
    """
    return tuple(
        any(_fits(wanted, call, preset) for call in calls.get(wanted.requestor, ()))
        for wanted in gold
    )


def basis_reward(
    components: Mapping[Component, float | None],
    basis: Sequence[Component] = DEFAULT_BASIS,
    termination: str = "user_stop",
) -> float:
    """The reward of an episode; 1 for an empty basis.

    Args:
        components: value of each check in [0, 1]; None where a judge gave no verdict.
        basis: the components that count.
        termination: why the conversation ended; only `agent_stop` and `user_stop` can earn anything.

    Raises:
        JudgeFailure: a component of the basis has no value, which is not the agent's fault.
    """
    if termination not in _PROPER_ENDS:
        return 0.0
    reward = 1.0
    for name in basis:
        value = components.get(name)
        if value is None:
            raise JudgeFailure(f"the reward basis needs {name}, which has no value")
        reward *= value
    return reward


def _fits(wanted: GoldAction, call: ToolCall, preset: str) -> bool:
    if call.name != wanted.name:
        return False
    keys = wanted.compare_args
    if keys is None:
        if preset == "strict":
            return dict(call.arguments) == dict(wanted.arguments)
        keys = tuple(call.arguments)
    missing = object()
    return all(
        call.arguments.get(key, missing) == wanted.arguments.get(key, missing) for key in keys
    )
