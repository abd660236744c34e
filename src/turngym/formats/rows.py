"""Rows with fixed, typed columns: what `datasets` and Parquet need, and exact both ways.

Free-form mappings (info, rewards, arguments) are JSON text, because Arrow would give every row the
keys of all others. `messages` repeats the conversation for readers; `turns` is what is read back.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping
from typing import Any

from turngym.errors import DataError, MissingExtraError
from turngym.formats.chat import conversation
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

__all__ = ["features", "from_row", "to_row"]

_MESSAGE = {
    "role": "string",
    "content": "string",
    "reasoning": "string",
    "tool_calls": [{"id": "string", "name": "string", "arguments_json": "string"}],
    "tool_call_id": "string",
    "name": "string",
}
_TURN = {
    "seen": [_MESSAGE],
    "reply": _MESSAGE,
    "reward": "float64",
    "rewards_json": "string",
    "exchange": "int64",
    "status": "string",
    "feedback": "string",
    "anchor": "string",
    "info_json": "string",
    "drops": ["int64"],
    "new_prompt_ids": ["int32"],
    "reply_ids": ["int32"],
    "reply_logprobs": ["float32"],
    "opens_segment": "bool",
    "finish_reason": "string",
    "policy_version": "int64",
    "temperature": "float64",
    "seconds": "float64",
}
_COLUMNS: Mapping[str, Any] = {
    "env_id": "string",
    "task_id": "string",
    "episode": "string",
    "seed": "int64",
    "group": "string",
    "status": "string",
    "outcome": "float64",
    "success": "bool",
    "messages": [{"role": "string", "content": "string"}],
    "turns": [_TURN],
    "closing": [_MESSAGE],
    "tools_json": "string",
    "rewards_json": "string",
    "privileged_json": "string",
    "fingerprint": "string",
    "error": "string",
    "seconds": "float64",
    "format_version": "int64",
    "versions_json": "string",
}
_PLAIN = ("env_id", "task_id", "episode", "seed", "group", "outcome", "success")
_ENDING = ("fingerprint", "error", "seconds", "format_version")
_TURN_PLAIN = ("reward", "exchange", "feedback", "anchor")
_COMPLETION_PLAIN = ("opens_segment", "finish_reason", "policy_version", "temperature", "seconds")


def features() -> Any:
    """The `datasets.Features` of the rows.

    Raises:
        MissingExtraError: datasets is not installed.
    """
    try:
        from datasets import Features, List, Value
    except ImportError as error:
        raise MissingExtraError("datasets", "data") from error

    def typed(spec: Any) -> Any:
        if isinstance(spec, str):
            return Value(spec)
        if isinstance(spec, list):
            return List(typed(spec[0]))
        return {name: typed(inner) for name, inner in spec.items()}

    return Features(typed(_COLUMNS))


def to_row(trajectory: Trajectory, *, privileged: bool = False) -> dict[str, Any]:
    """The row of a trajectory; privileged facts stay out unless asked for."""
    secret = trajectory.privileged if privileged else Privileged()
    return {
        **{name: getattr(trajectory, name) for name in _PLAIN},
        "status": trajectory.status.value,
        "messages": [{"role": m.role, "content": m.content} for m in conversation(trajectory)],
        "turns": [_turn_to(turn) for turn in trajectory.turns],
        "closing": [_message_to(message) for message in trajectory.closing],
        "tools_json": _json([dict(tool) for tool in trajectory.tools]),
        "rewards_json": _json(dict(trajectory.rewards)),
        "privileged_json": _json(
            {
                "references": list(secret.references),
                "gold_actions": list(secret.gold_actions),
                "hidden_state": dict(secret.hidden_state),
                "notes": secret.notes,
            }
        ),
        **{name: getattr(trajectory, name) for name in _ENDING},
        "versions_json": _json(dict(trajectory.versions)),
    }


def from_row(row: Mapping[str, Any]) -> Trajectory:
    """The trajectory of a row.

    Raises:
        DataError: a column is missing or malformed.
    """
    try:
        secret = json.loads(row["privileged_json"])
        return Trajectory(
            **{name: row[name] for name in (*_PLAIN, *_ENDING)},
            status=EpisodeStatus(row["status"]),
            turns=tuple(_turn_from(turn) for turn in row["turns"]),
            closing=tuple(_message_from(message) for message in row["closing"]),
            tools=tuple(json.loads(row["tools_json"])),
            rewards=json.loads(row["rewards_json"]),
            privileged=Privileged(
                references=tuple(secret["references"]),
                gold_actions=tuple(secret["gold_actions"]),
                hidden_state=secret["hidden_state"],
                notes=secret["notes"],
            ),
            versions=json.loads(row["versions_json"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"row {row.get('episode')!r} is no trajectory: {error!r}") from error


def _turn_to(turn: Turn) -> dict[str, Any]:
    completion = turn.completion
    return {
        "seen": [_message_to(message) for message in turn.seen],
        "reply": _message_to(completion.message),
        **{name: getattr(turn, name) for name in _TURN_PLAIN},
        "rewards_json": _json(dict(turn.rewards)),
        "status": turn.status.value,
        "info_json": _json(dict(turn.info)),
        "drops": list(turn.drops),
        "new_prompt_ids": completion.new_prompt_ids.tolist(),
        "reply_ids": completion.reply_ids.tolist(),
        "reply_logprobs": completion.reply_logprobs.tolist(),
        **{name: getattr(completion, name) for name in _COMPLETION_PLAIN},
    }


def _turn_from(row: Mapping[str, Any]) -> Turn:
    completion = Completion(
        message=_message_from(row["reply"]),
        new_prompt_ids=array("i", row["new_prompt_ids"]),
        reply_ids=array("i", row["reply_ids"]),
        reply_logprobs=array("f", row["reply_logprobs"]),
        **{name: row[name] for name in _COMPLETION_PLAIN},
    )
    return Turn(
        seen=tuple(_message_from(message) for message in row["seen"]),
        completion=completion,
        rewards=json.loads(row["rewards_json"]),
        status=TurnStatus(row["status"]),
        info=json.loads(row["info_json"]),
        drops=tuple(row["drops"]),
        **{name: row[name] for name in _TURN_PLAIN},
    )


def _message_to(message: Message) -> dict[str, Any]:
    return {
        "role": message.role,
        "content": message.content,
        "reasoning": message.reasoning,
        "tool_calls": [
            {"id": call.id, "name": call.name, "arguments_json": _json(dict(call.arguments))}
            for call in message.tool_calls
        ],
        "tool_call_id": message.tool_call_id,
        "name": message.name,
    }


def _message_from(row: Mapping[str, Any]) -> Message:
    calls = tuple(
        ToolCall(id=c["id"], name=c["name"], arguments=json.loads(c["arguments_json"]))
        for c in row["tool_calls"]
    )
    return Message(**{**row, "tool_calls": calls})


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
