"""The Agent Trajectory Interchange Format v1.8, as Harbor and others read it.

A reply is one step of source `agent`; tool messages that follow it are its observation, every other
message is a step of its own. What ATIF has no field for stands under `extra.turngym`, so that our
own documents come back exactly; documents of others come in with what the format has.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from turngym.errors import DataError
from turngym.types import (
    Completion,
    EpisodeStatus,
    Message,
    Privileged,
    ToolCall,
    Trajectory,
    Turn,
    TurnStatus,
)
from turngym.version import __version__

__all__ = ["ATIF_VERSION", "from_atif", "to_atif"]

ATIF_VERSION = "ATIF-v1.8"

_OWN = "turngym"
_TURN = ("reward", "exchange", "feedback", "anchor")
_COMPLETION = ("opens_segment", "finish_reason", "policy_version", "temperature", "seconds")
_ROOT = ("env_id", "task_id", "seed", "group", "outcome", "success", "fingerprint", "error")
_ENDING = ("seconds", "format_version")


def to_atif(trajectory: Trajectory, *, privileged: bool = False) -> dict[str, Any]:
    """The document of a trajectory; privileged facts stay out unless asked for.

    `prompt_token_ids` are whole prompts, as the format says, and so grow with the square of the
    turns; ours keep only what is new.
    """
    steps = [*_steps(trajectory)]
    for number, step in enumerate(steps, start=1):
        step["step_id"] = number
    agent: dict[str, Any] = {"name": "turngym", "version": __version__}
    if trajectory.tools:
        agent["tool_definitions"] = [dict(tool) for tool in trajectory.tools]
    own = {name: getattr(trajectory, name) for name in (*_ROOT, *_ENDING)}
    own |= {"status": trajectory.status.value, "rewards": dict(trajectory.rewards)}
    own["versions"] = dict(trajectory.versions)
    if privileged:
        secret = trajectory.privileged
        own["privileged"] = {
            "references": list(secret.references),
            "gold_actions": list(secret.gold_actions),
            "hidden_state": dict(secret.hidden_state),
            "notes": secret.notes,
        }
    metrics = [step["metrics"] for step in steps if "metrics" in step]
    return {
        "schema_version": ATIF_VERSION,
        "session_id": trajectory.group,
        "trajectory_id": trajectory.episode,
        "agent": agent,
        "steps": steps,
        "final_metrics": {
            "total_prompt_tokens": sum(m["prompt_tokens"] for m in metrics),
            "total_completion_tokens": sum(m["completion_tokens"] for m in metrics),
            "total_steps": len(steps),
        },
        "extra": {_OWN: own},
    }


def from_atif(document: Mapping[str, Any]) -> Trajectory:
    """The trajectory of a document, ours or another's.

    Steps that were copied from an earlier document for context are read like others; embedded
    trajectories of subagents are not read.

    Raises:
        DataError: not ATIF, a major version that is not known, or a malformed step.
    """
    version = str(document.get("schema_version", ""))
    if not version.startswith("ATIF-v1."):
        raise DataError(f"not an ATIF v1 document: schema_version is {version!r}")
    own = (document.get("extra") or {}).get(_OWN, {})
    try:
        turns, closing = _read_steps(document["steps"])
        return Trajectory(
            env_id=own.get("env_id", document["agent"]["name"]),
            task_id=own.get("task_id", ""),
            episode=document.get("trajectory_id") or document.get("session_id") or "0",
            seed=own.get("seed", 0),
            group=own.get("group", document.get("session_id") or "0"),
            turns=turns,
            status=EpisodeStatus(own.get("status", "terminated")),
            closing=closing,
            tools=tuple(document["agent"].get("tool_definitions") or ()),
            privileged=_privileged(own.get("privileged")),
            **{name: own[name] for name in (*_ROOT[4:], *_ENDING, "rewards", "versions") if own},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        where = document.get("trajectory_id")
        raise DataError(f"malformed ATIF document {where!r}: {error!r}") from error


def _steps(trajectory: Trajectory) -> Iterator[dict[str, Any]]:
    past = array("i")
    before: dict[str, Any] | None = None
    for turn in trajectory.turns:
        yield from _heard(turn.seen, before)
        completion = turn.completion
        if completion.opens_segment:
            past = array("i")
        past = past + completion.new_prompt_ids
        before = _agent_step(turn, past)
        past = past + completion.reply_ids
        yield before
    yield from _heard(trajectory.closing, before)


def _agent_step(turn: Turn, prompt: array[int]) -> dict[str, Any]:
    completion = turn.completion
    message = completion.message
    step: dict[str, Any] = {"source": "agent", "message": message.content, "llm_call_count": 1}
    if message.reasoning is not None:
        step["reasoning_content"] = message.reasoning
    if message.tool_calls:
        step["tool_calls"] = [
            {"tool_call_id": c.id, "function_name": c.name, "arguments": dict(c.arguments)}
            for c in message.tool_calls
        ]
    if completion.trainable:
        step["metrics"] = {
            "prompt_tokens": len(prompt),
            "completion_tokens": len(completion.reply_ids),
            "prompt_token_ids": prompt.tolist(),
            "completion_token_ids": completion.reply_ids.tolist(),
            "logprobs": [float(f"{value:.9g}") for value in completion.reply_logprobs],
        }
    own: dict[str, Any] = {name: getattr(turn, name) for name in _TURN}
    own |= {name: getattr(completion, name) for name in _COMPLETION}
    own |= {"status": turn.status.value, "rewards": dict(turn.rewards), "info": dict(turn.info)}
    own["drops"] = list(turn.drops)
    if message.name is not None:
        own["name"] = message.name
    return {**step, "extra": {_OWN: own}}


def _heard(messages: Sequence[Message], before: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Steps of what is not a reply; answers of tools go into the step `before`, if they can."""
    taking = before
    for message in messages:
        if message.role != "tool":
            taking = None
            yield _message_step(message)
            continue
        if taking is None:
            step: dict[str, Any] = {"source": "system", "message": ""}
            taking = step
            yield taking
        known = {call["tool_call_id"] for call in taking.get("tool_calls", ())}
        taking.setdefault("observation", {"results": []})["results"].append(_result(message, known))


def _message_step(message: Message) -> dict[str, Any]:
    source = "system" if message.role == "system" else "user"
    step: dict[str, Any] = {"source": source, "message": message.content}
    return step if message.name is None else {**step, "extra": {_OWN: {"name": message.name}}}


def _result(message: Message, known: Collection[str]) -> dict[str, Any]:
    """An answer; the id of a call that this step did not make may not stand in its field."""
    result: dict[str, Any] = {"content": message.content}
    own = {} if message.name is None else {"name": message.name}
    if message.tool_call_id in known:
        result["source_call_id"] = message.tool_call_id
    elif message.tool_call_id is not None:
        own["tool_call_id"] = message.tool_call_id
    return {**result, "extra": {_OWN: own}} if own else result


def _read_steps(
    steps: Sequence[Mapping[str, Any]],
) -> tuple[tuple[Turn, ...], tuple[Message, ...]]:
    turns: list[Turn] = []
    seen: list[Message] = []
    past = array("i")
    exchange = 0
    for step in steps:
        own = (step.get("extra") or {}).get(_OWN, {})
        if step["source"] == "agent":
            exchange += bool(turns) and any(message.role == "user" for message in seen)
            completion = _read_completion(step, own, past)
            turns.append(_read_turn(completion, own, tuple(seen), exchange))
            past = array("i") if completion.opens_segment else past
            past = past + completion.new_prompt_ids + completion.reply_ids
            seen = []
        elif step["message"] or not step.get("observation"):
            seen.append(
                Message(role=step["source"], content=_text(step["message"]), name=own.get("name"))
            )
        for result in (step.get("observation") or {}).get("results", ()):
            seen.append(_read_result(result))
    return tuple(turns), tuple(seen)


def _read_turn(
    completion: Completion, own: Mapping[str, Any], seen: tuple[Message, ...], exchange: int
) -> Turn:
    return Turn(
        seen=seen,
        completion=completion,
        reward=own.get("reward"),
        rewards=own.get("rewards", {}),
        exchange=own.get("exchange", exchange),
        status=TurnStatus(own.get("status", "ok")),
        feedback=own.get("feedback", ""),
        anchor=own.get("anchor", ""),
        info=own.get("info", {}),
        drops=tuple(own.get("drops", ())),
    )


def _read_completion(
    step: Mapping[str, Any], own: Mapping[str, Any], past: array[int]
) -> Completion:
    metrics = step.get("metrics") or {}
    prompt = array("i", metrics.get("prompt_token_ids") or ())
    extends = bool(past) and prompt[: len(past)] == past
    opens = own.get("opens_segment", bool(prompt) and not extends)
    calls = tuple(
        ToolCall(id=c["tool_call_id"], name=c["function_name"], arguments=c["arguments"])
        for c in step.get("tool_calls") or ()
    )
    return Completion(
        message=Message(
            role="assistant",
            content=_text(step["message"]),
            reasoning=step.get("reasoning_content"),
            tool_calls=calls,
            name=own.get("name"),
        ),
        new_prompt_ids=prompt if opens else prompt[len(past) :],
        reply_ids=array("i", metrics.get("completion_token_ids") or ()),
        reply_logprobs=array("f", metrics.get("logprobs") or ()),
        opens_segment=opens,
        **{name: own[name] for name in _COMPLETION[1:] if name in own},
    )


def _read_result(result: Mapping[str, Any]) -> Message:
    own = (result.get("extra") or {}).get(_OWN, {})
    return Message(
        role="tool",
        content=_text(result.get("content")),
        tool_call_id=result.get("source_call_id") or own.get("tool_call_id"),
        name=own.get("name"),
    )


def _privileged(data: Mapping[str, Any] | None) -> Privileged:
    if data is None:
        return Privileged()
    return Privileged(
        references=tuple(data["references"]),
        gold_actions=tuple(data["gold_actions"]),
        hidden_state=data["hidden_state"],
        notes=data["notes"],
    )


def _text(content: Any) -> str:
    """Text of a message; of several parts the texts, and where a picture or a sound was."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(
        part["text"] if part["type"] == "text" else f"[{part['type']}: {part['source']['path']}]"
        for part in content
    )
