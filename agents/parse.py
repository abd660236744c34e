"""Reply text -> Message: reasoning and tool calls taken out, whatever cannot be read left in place."""

from __future__ import annotations

import json
import re

from turngym.types import Message, ToolCall

__all__ = ["parse_hermes", "parse_plain"]

_CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)
# Some templates write the opening tag into the prompt, so that a reply starts inside it.
_THINK = re.compile(r"\A\s*(?:<think>)?((?:(?!<think>).)*?)</think>\s*", re.DOTALL)


def parse_plain(text: str) -> Message:
    """The text as it is."""
    return Message(role="assistant", content=text)


def parse_hermes(text: str) -> Message:
    """`<think>` (its opening tag may be missing) and `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, as Hermes and Qwen.

    A call that is not a JSON object with a string name and an object of arguments stays in the
    content, where the environment sees it; nothing is guessed and nothing raises.
    """
    thought = _THINK.match(text) if "</think>" in text else None
    body = text[thought.end() :] if thought else text
    calls: list[ToolCall] = []

    def take(match: re.Match[str]) -> str:
        call = _call(match[1], f"call_{len(calls)}")
        if call is None:
            return match[0]
        calls.append(call)
        return ""

    content = _CALL.sub(take, body) if "</tool_call>" in body else body
    return Message(
        role="assistant",
        content=content.strip() if calls else content,
        reasoning=thought[1].strip() if thought else None,
        tool_calls=tuple(calls),
    )


def _call(text: str, call_id: str) -> ToolCall | None:
    try:
        data = json.loads(text)
        # NaN and halves of surrogate pairs pass the parser, and no file or tokenizer takes them.
        json.dumps(data, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        return None
    arguments = data.get("arguments", {})
    if not isinstance(arguments, dict):
        return None
    return ToolCall(id=call_id, name=data["name"], arguments=arguments)
