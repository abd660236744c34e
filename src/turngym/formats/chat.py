"""Conversations in the shape that chat templates and TRL's SFT trainer read.

    {"messages": [{"role": "user", "content": "..."}, ...], "tools": [...], "task_id": "..."}

Tool calls stand in the OpenAI shape, their arguments as an object, as Hugging Face templates expect.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from turngym.errors import DataError
from turngym.types import (
    Completion,
    EpisodeStatus,
    Message,
    ToolCall,
    Trajectory,
    Turn,
)

__all__ = [
    "conversation",
    "from_chat",
    "message_from_chat",
    "message_to_chat",
    "to_chat",
    "to_turns",
]


def to_chat(trajectory: Trajectory) -> dict[str, Any]:
    """One row of training data: the conversation up to the last reply, and the tools."""
    messages = conversation(trajectory)[: -len(trajectory.closing) or None]
    return {
        "messages": [message_to_chat(message) for message in messages],
        "tools": [dict(tool) for tool in trajectory.tools],
        "env_id": trajectory.env_id,
        "task_id": trajectory.task_id,
        "outcome": trajectory.outcome,
    }


def from_chat(row: Mapping[str, Any], *, episode: str = "0") -> Trajectory:
    """A trajectory without token ids out of a conversation.

    Args:
        row: `messages`, and `tools`, `env_id`, `task_id`, `outcome` where they are known.
        episode: key of the trajectory.

    Raises:
        DataError: no messages, or one that is no chat message.
    """
    if not row.get("messages"):
        raise DataError(f"a conversation needs `messages`, got the keys {sorted(row)}")
    turns, closing = to_turns([message_from_chat(data) for data in row["messages"]])
    outcome = row.get("outcome")
    return Trajectory(
        env_id=str(row.get("env_id", "")),
        task_id=str(row.get("task_id", "")),
        episode=episode,
        seed=0,
        group=str(row.get("task_id") or episode),
        turns=turns,
        status=EpisodeStatus.TERMINATED,
        closing=closing,
        tools=tuple(row.get("tools") or ()),
        outcome=None if outcome is None else float(outcome),
        success=None if outcome is None else float(outcome) >= 1.0,
    )


def conversation(trajectory: Trajectory) -> tuple[Message, ...]:
    """All messages in order, the closing ones included."""
    said = [m for turn in trajectory.turns for m in (*turn.seen, turn.completion.message)]
    return (*said, *trajectory.closing)


def to_turns(messages: Sequence[Message]) -> tuple[tuple[Turn, ...], tuple[Message, ...]]:
    """A conversation as turns, and what came after the last reply."""
    turns: list[Turn] = []
    seen: list[Message] = []
    exchange = 0
    for message in messages:
        if message.role != "assistant":
            seen.append(message)
            continue
        exchange += bool(turns) and any(m.role == "user" for m in seen)
        turns.append(
            Turn(seen=tuple(seen), completion=Completion(message=message), exchange=exchange)
        )
        seen = []
    return tuple(turns), tuple(seen)


def message_to_chat(message: Message) -> dict[str, Any]:
    """A message with its tool calls in the OpenAI shape."""
    data: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning is not None:
        data["reasoning_content"] = message.reasoning
    if message.tool_calls:
        data["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": dict(call.arguments)},
            }
            for call in message.tool_calls
        ]
    for name in ("tool_call_id", "name"):
        if getattr(message, name) is not None:
            data[name] = getattr(message, name)
    return data


def message_from_chat(data: Mapping[str, Any]) -> Message:
    """The inverse of `message_to_chat`; arguments may be a JSON string too.

    Raises:
        DataError: no role, an unknown one, or tool calls that are none.
    """
    try:
        if data["role"] not in ("system", "user", "assistant", "tool"):
            raise ValueError(f"unknown role {data['role']!r}")
        return Message(
            role=data["role"],
            content=_text(data.get("content")),
            reasoning=data.get("reasoning_content"),
            tool_calls=tuple(_calls(data.get("tool_calls") or ())),
            tool_call_id=data.get("tool_call_id"),
            name=data.get("name"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"not a chat message: {json.dumps(data)[:120]} ({error!r})") from error


def _calls(calls: Iterable[Mapping[str, Any]]) -> Iterable[ToolCall]:
    for number, call in enumerate(calls):
        function = call["function"]
        arguments = function.get("arguments") or {}
        if isinstance(arguments, str):
            arguments = json.loads(arguments)
        yield ToolCall(
            id=str(call.get("id") or f"call-{number}"),
            name=function["name"],
            # Arrow fills the keys that other rows have with None; a call never had them.
            arguments={key: value for key, value in arguments.items() if value is not None},
        )


def _text(content: Any) -> str:
    """Content as one string; lists of parts keep their texts."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(str(part["text"]) for part in content if part.get("type") == "text")
