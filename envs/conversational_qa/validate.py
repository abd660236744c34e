"""Is every task solvable, and is nothing else worth as much? Plays the gold trajectory and wrong ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from turngym.envs.conversational_qa.env import ConversationalQA
from turngym.envs.conversational_qa.tasks import SPLITS
from turngym.types import Message, Privileged, assistant

__all__ = ["WRONG", "Finding", "gold", "validate"]

Script = Callable[[list[Message], Privileged], str]

_UNLIKELY = "qzx vwq"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One task on which the environment pays what it should not."""

    task_id: str
    script: str
    """`gold`, or the name of the wrong script."""
    outcome: float
    best: float
    """What the gold trajectory should earn."""


def gold(messages: Sequence[Message], privileged: Privileged) -> str:
    """The next reply of the gold trajectory: the gold searches in order, then the right reply.

    Args:
        messages: from the first message of an episode, the agent's own among them.
        privileged: of the environment at this point.
    """
    said = [message.content for message in messages if message.role == "assistant"]
    ends = [n for n, text in enumerate(said) if "<answer>" in text or "<noanswer>" in text]
    here = said[ends[-1] + 1 if ends else 0 :]
    kind = privileged.hidden_state["kind"]
    done = sum("<search>" in text for text in here)
    if done < len(privileged.gold_actions):
        return privileged.gold_actions[done]
    if kind == "clarify" and not any("<clarify>" in text for text in here):
        return "<clarify> Which one do you mean? </clarify>"
    if kind == "no_answer":
        return "<noanswer></noanswer>"
    return f"<answer> {privileged.references[0]} </answer>"


def _says(text: str) -> Script:
    return lambda messages, privileged: text


def _refuses_or_guesses(messages: list[Message], privileged: Privileged) -> str:
    """The wrong kind of reply, with the right words where there are any."""
    if privileged.hidden_state["kind"] == "answer":
        return "<noanswer></noanswer>"
    return f"<answer> {' '.join(privileged.references) or 'unknown'} </answer>"


WRONG: Mapping[str, Script] = {
    "empty answer": _says("<answer></answer>"),
    "wrong words": _says(f"<answer> {_UNLIKELY} </answer>"),
    "wrong kind": _refuses_or_guesses,
    "no action": _says("The answer is well known."),
    "search for ever": _says("<search> town </search>"),
}
"""Scripts that must earn less than the gold trajectory, whatever the task."""


def validate(env: ConversationalQA, task_ids: Iterable[str] | None = None) -> list[Finding]:
    """Everything that is wrong with the tasks; empty when each pays its gold trajectory the maximum
    and every script of `WRONG` less.

    Args:
        env: with protocol `tags`.
        task_ids: None plays every task of every split.
    """
    if task_ids is None:
        task_ids = [task_id for split in SPLITS for task_id in env.tasks(split)]
    findings = []
    for task_id in task_ids:
        outcome, best = _play(env, task_id, gold)
        if abs(outcome - best) > 1e-9:
            findings.append(Finding(task_id=task_id, script="gold", outcome=outcome, best=best))
        for name, script in WRONG.items():
            outcome, _ = _play(env, task_id, script)
            if outcome >= best:
                findings.append(Finding(task_id=task_id, script=name, outcome=outcome, best=best))
    return findings


def _play(
    env: ConversationalQA, task_id: str, script: Callable[[list[Message], Privileged], str]
) -> tuple[float, float]:
    """(sum of rewards, most that the task can pay)."""
    opening, _ = env.reset(seed=0, options={"task_id": task_id})
    messages, total = list(opening), 0.0
    rewrites: dict[int, bool] = {}
    while True:
        rewrites[env.question_number] = bool(env.privileged.hidden_state["rewrites"])
        reply = script(messages, env.privileged)
        new, reward, terminated, truncated, _ = env.step(assistant(reply))
        messages += [assistant(reply), *new]
        total += reward
        if terminated or truncated:
            break
    share: float = sum(rewrites.values())
    if env.settings.intent_at == "end":
        share = share / len(rewrites)
    return total, 1.0 + env.settings.intent_weight * share
