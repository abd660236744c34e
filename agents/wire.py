"""Messages and completions in the OpenAI wire form, and back. Pure functions.

Tool-call arguments are a JSON string on the wire and a dict everywhere else.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json

from turngym.errors import InfraFailure
from turngym.types import FinishReason, Message, Sampling, ToolCall

__all__ = [
    "Answer",
    "message_from_wire",
    "message_to_wire",
    "read_chat",
    "read_json",
    "read_text",
    "sampling_to_wire",
    "tool_to_wire",
    "write_json",
]

_FINISH: Mapping[str, FinishReason] = {
    "stop": "stop",
    "tool_calls": "stop",
    "function_call": "stop",
    "length": "length",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One choice of a server's answer."""

    message: Message
    """For a text completion: its whole text as content, not parsed."""
    finish_reason: FinishReason
    prompt_ids: array[int] | None
    """The whole prompt as the server tokenised it, where it says so."""
    reply_ids: array[int] | None
    reply_logprobs: array[float] | None


def write_json(value: Any) -> bytes:
    """JSON as `json.dumps` has it, at a tenth of its price: half of a driver's work was this.

    Raises:
        TypeError: something in `value` has no JSON form.
    """
    try:
        return to_json(value)
    except ValueError:  # half of a surrogate pair, which UTF-8 cannot hold and an escape can
        return json.dumps(value).encode()


def read_json(data: bytes) -> Any:
    """What `json.loads` reads, at a third of its price.

    Raises:
        ValueError: no JSON.
    """
    try:
        return from_json(data)
    except ValueError:
        return json.loads(data)


def message_to_wire(message: Message) -> dict[str, Any]:
    """The message as a server takes it. Reasoning is left out: chat APIs do not take it back."""
    data: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_call_id is not None:
        data["tool_call_id"] = message.tool_call_id
    if message.name is not None and message.role != "tool":
        data["name"] = message.name
    if message.tool_calls:
        data["content"] = message.content or None
        data["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": json.dumps(dict(call.arguments), ensure_ascii=False),
                },
            }
            for call in message.tool_calls
        ]
    return data


def message_from_wire(data: Mapping[str, Any]) -> Message:
    """The message a server sent.

    A tool call whose arguments are no JSON object is the model's mistake: it stays in the content,
    where the environment sees it.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: not a message.
    """
    if data.get("role", "assistant") != "assistant":
        raise ValueError(f"expected a message of the assistant, got role {data['role']!r}")
    content = _text(data.get("content")) or _text(data.get("refusal"))
    calls: list[ToolCall] = []
    for number, item in enumerate(data.get("tool_calls") or ()):
        function = item["function"]
        arguments = _arguments(function.get("arguments"))
        if arguments is None:
            wrong = json.dumps({"name": function["name"], "arguments": function["arguments"]})
            content = f"{content}\n<tool_call>{wrong}</tool_call>".lstrip()
        else:
            call_id = item.get("id") or f"call_{number}"
            calls.append(ToolCall(id=call_id, name=str(function["name"]), arguments=arguments))
    reasoning = data.get("reasoning_content") or data.get("reasoning")
    return Message(
        role="assistant",
        content=content,
        reasoning=reasoning if isinstance(reasoning, str) else None,
        tool_calls=tuple(calls),
    )


def tool_to_wire(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """A function schema inside the object of type `function` that the API asks for."""
    return tool if "function" in tool else {"type": "function", "function": tool}


def sampling_to_wire(sampling: Sampling) -> dict[str, Any]:
    """Temperature, and what differs from the usual default: not every server takes every field."""
    data: dict[str, Any] = {"temperature": sampling.temperature}
    if sampling.top_p < 1:
        data["top_p"] = sampling.top_p
    if sampling.top_k:
        data["top_k"] = sampling.top_k
    if sampling.stop:
        data["stop"] = list(sampling.stop)
    return data


def read_chat(data: Mapping[str, Any]) -> Answer:
    """The first choice of `/chat/completions`.

    Raises:
        InfraFailure: the server's content filter withheld the reply.
        ValueError, TypeError, LookupError, AttributeError: not such an answer.
    """
    choice = data["choices"][0]
    listed = (choice.get("logprobs") or {}).get("content")
    return _answer(
        choice,
        message_from_wire(choice["message"]),
        None if listed is None else [item["logprob"] for item in listed],
        data.get("prompt_token_ids", choice.get("prompt_token_ids")),
    )


def read_text(data: Mapping[str, Any]) -> Answer:
    """The first choice of `/completions`, less its prompt: who asked knows it. Errors as `read_chat`."""
    choice = data["choices"][0]
    message = Message(role="assistant", content=_text(choice["text"]))
    return _answer(choice, message, (choice.get("logprobs") or {}).get("token_logprobs"), None)


def _answer(
    choice: Mapping[str, Any],
    message: Message,
    logprobs: Sequence[float] | None,
    prompt_ids: Sequence[int] | None,
) -> Answer:
    reason = choice.get("finish_reason") or "stop"
    if reason not in _FINISH:
        raise InfraFailure(f"the server ended its reply with {reason!r}: {message.content[:200]!r}")
    reply_ids = choice.get("token_ids")
    if reply_ids is not None and logprobs is not None and len(reply_ids) != len(logprobs):
        raise ValueError(f"{len(reply_ids)} token ids with {len(logprobs)} log-probabilities")
    return Answer(
        message=message,
        finish_reason=_FINISH[reason],
        prompt_ids=_ids(prompt_ids),
        reply_ids=_ids(reply_ids),
        reply_logprobs=None if logprobs is None else array("f", logprobs),
    )


def _ids(values: Sequence[int] | None) -> array[int] | None:
    if values is None:
        return None
    if min(values, default=0) < 0:
        raise ValueError("a token id is negative")
    return array("i", values)


def _arguments(value: Any) -> dict[str, Any] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value or "{}")
            # NaN and halves of surrogate pairs pass the parser, and no file takes them.
            json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {type(value).__name__}")
    return value
