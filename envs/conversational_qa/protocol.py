"""What an agent writes and what it reads: Search-R1 tags or native tool calls.

Tags after Search-R1 (arXiv 2503.09516) and ConvAgent (arXiv 2601.13115, `<clarify>`, `<noanswer>`);
`<judge>` after ReSeek (arXiv 2510.00568). Only the first action of a reply counts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from turngym.envs.conversational_qa.tasks import Exchange
from turngym.envs.retrieval.passages import Hit, render_hits
from turngym.types import Message

__all__ = [
    "Action",
    "ActionKind",
    "cut",
    "information",
    "invalid_notice",
    "opening",
    "parse_call",
    "parse_tags",
    "parse_verdict",
    "rules",
    "spoken",
    "tool_schemas",
]


_TAGS = re.compile(r"<(/?)(information|think|search|answer|clarify|noanswer|judge)>")


class ActionKind(StrEnum):
    """What an agent can do."""

    SEARCH = "search"
    ANSWER = "answer"
    CLARIFY = "clarify"
    NO_ANSWER = "noanswer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One action with its text: a query, an answer or a question."""

    kind: ActionKind
    text: str = ""


_CITE = (
    "Before the answer state in full sentences what it rests on, each with the title of its passage "
    "in square brackets, such as: The mayor of Berlin is Ana Roth [Berlin]."
)
_TOOLS: dict[ActionKind, tuple[str, str, str]] = {
    ActionKind.SEARCH: ("search", "query", "Search for passages."),
    ActionKind.ANSWER: ("answer", "text", "Give the final answer, as short as possible."),
    ActionKind.CLARIFY: ("clarify", "question", "Ask the user what the question means."),
    ActionKind.NO_ANSWER: ("cannot_answer", "", "Say that the passages do not hold the answer."),
}


def parse_tags(text: str, allowed: Collection[ActionKind]) -> Action | None:
    """The first complete action in tags; None when there is none, or its text is no such action."""
    names = "|".join(kind.value for kind in ActionKind if kind in allowed)
    match = re.search(rf"<({names})>(.*?)</\1>", text, re.DOTALL)
    return None if match is None else _action(ActionKind(match[1]), match[2])


def parse_verdict(text: str) -> bool | None:
    """Whether the first `<judge>` says yes; None without a verdict of yes or no."""
    match = re.search(r"<judge>\s*(yes|no)\s*</judge>", text, re.IGNORECASE)
    return None if match is None else match[1].lower() == "yes"


def parse_call(message: Message, allowed: Collection[ActionKind]) -> Action | None:
    """The action of the first tool call; words without a call are the answer."""
    if not message.tool_calls:
        return _action(ActionKind.ANSWER, message.content) if message.content.strip() else None
    call = message.tool_calls[0]
    for kind in ActionKind:
        name, argument, _ = _TOOLS[kind]
        if kind in allowed and call.name == name:
            value = call.arguments.get(argument, "") if argument else ""
            return _action(kind, value) if isinstance(value, str) else None
    return None


def tool_schemas(allowed: Collection[ActionKind]) -> tuple[Mapping[str, Any], ...]:
    """OpenAI function schemas of the allowed actions."""
    return tuple(_schema(*_TOOLS[kind]) for kind in ActionKind if kind in allowed)


def rules(
    allowed: Collection[ActionKind], *, tags: bool, judge: bool = False, cite: bool = False
) -> str:
    """What an agent is told to do; tool calls explain themselves in their schemas."""
    if not tags:
        told = (
            "Answer the user's last question from passages that you search for. Think first, call "
            "one tool at a time, and search as often as you need."
        )
        return f"{told} {_CITE}" if cite else told
    lines = [
        "Answer the user's last question. Think between <think> and </think> whenever you read "
        "something new. To search, write <search> query </search>; what is found comes back "
        "between <information> and </information>. Search as often as you need. When you know, "
        "write the answer alone, such as <answer> Beijing </answer>.",
    ]
    if ActionKind.CLARIFY in allowed:
        lines.append("If the question has several readings, ask: <clarify> question </clarify>.")
    if ActionKind.NO_ANSWER in allowed:
        lines.append("If the passages do not hold the answer, write <noanswer></noanswer>.")
    if judge:
        lines.append(
            "After each search say first whether what was found helps: <judge> yes </judge> or "
            "<judge> no </judge>."
        )
    if cite:
        lines.append(_CITE)
    return " ".join(lines)


def opening(history: Sequence[Exchange], question: str, *, brief: bool, max_chars: int) -> str:
    """The conversation so far and the question; the oldest exchanges go first when it is too long.

    The question itself is always whole, even where it alone exceeds `max_chars`.
    """
    kept = list(history)
    while True:
        text = _opening(kept, question, brief)
        if len(text) <= max_chars or not kept:
            return text
        kept.pop(0)


def information(hits: Sequence[Hit], *, tags: bool, brief: bool, max_chars: int) -> str:
    """Passages as the agent reads them, cut to `max_chars` inside their tags."""
    text = "\n".join(hit.passage.text for hit in hits) if brief else render_hits(hits).strip()
    kept = cut(spoken(text, brief=brief), max_chars)
    if not tags:
        return kept or "(nothing found)"
    return f"<information>{kept}</information>"


def spoken(text: str, *, brief: bool) -> str:
    """`text` as the agent reads it; brief lines start with a space.

    To most tokenizers a word and the space before it are one token. With it a name is the same
    tokens at the start of a line and inside a search, so that tiny policies can copy it.
    """
    return " " + text.replace("\n", "\n ") if brief and text else text


def invalid_notice(allowed: Collection[ActionKind], *, tags: bool, brief: bool) -> str:
    """What follows a reply without an action."""
    if brief:
        return "invalid"
    if not tags:
        names = ", ".join(_TOOLS[kind][0] for kind in ActionKind if kind in allowed)
        return f"That was not a valid action. Call one of: {names}."
    shown = ", ".join(f"<{kind}> ... </{kind}>" for kind in ActionKind if kind in allowed)
    return f"My previous action is invalid. I should write one of: {shown}. Let me try again."


def cut(text: str, max_chars: int) -> str:
    """At most `max_chars` of `text`, ending at a word where possible, tags in it made harmless."""
    # A passage that holds a closing tag would end its block early.
    text = _TAGS.sub(r"[\1\2]", text)
    max_chars = max(max_chars, 0)  # a budget may be overdrawn
    if len(text) <= max_chars:
        return text
    kept = text[:max_chars]
    if not text[len(kept)].isspace() and " " in kept:
        kept = kept[: kept.rindex(" ")]
    return kept.rstrip()


def _action(kind: ActionKind, text: str) -> Action | None:
    text = text.strip()
    if kind in (ActionKind.SEARCH, ActionKind.CLARIFY) and not text:
        return None
    return Action(kind=kind, text=text)


def _opening(history: Sequence[Exchange], question: str, brief: bool) -> str:
    if brief:
        lines = [line for past in history for line in (past.question, past.answer)]
        return spoken("\n".join([*lines, question]), brief=True)
    if not history:
        return f"User query: {question}"
    lines = [f"User: {past.question}\nAssistant: {past.answer}" for past in history]
    return "\n".join(["<context>", *lines, "</context>", f"User query: {question}"])


def _schema(name: str, argument: str, description: str) -> Mapping[str, Any]:
    properties = {argument: {"type": "string"}} if argument else {}
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {
                "type": "object",
                "properties": properties,
                "required": list(properties),
            },
        },
    }
