"""Readers of published people and conversations. Nothing is bundled or downloaded.

- SAGE / RLVER profiles (Tencent/digitalhuman): MIT; 500 to train on, 100 to test on; Chinese.
- ESConv (thu-coai): CC BY-NC 4.0 and for academic use only; give the path of your own copy.
- ExTES: no redistribution by us; give the path of your own copy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from turngym.envs.emotional_support.profiles import Intent, Profile, needs_of
from turngym.errors import DataError

__all__ = ["Conversation", "Line", "load_esconv", "load_extes", "load_sage"]

T = TypeVar("T")

SAGE_INTENTS = {
    "你想分析事件中其他人物这么做的原因": Intent.MOTIVES,
    "你希望对方深刻共情你的感受，而不是简单的安慰": Intent.EMPATHY,
    "你希望对方真诚地夸奖你在事件中的具体行为": Intent.PRAISE,
    "你希望对方引导你针对事件进行自我反思，收获自我成长": Intent.REFLECT,
    "你想获得能真实帮助你解决当下困境的建议": Intent.ADVICE,
    "你认为自己在事件中没有任何责任和错误，你想要对方也认同你没有错": Intent.NO_FAULT,
    "你希望对方用心倾听你的情绪宣泄": Intent.LISTEN,
    "你希望对方辩证地分析事件中的问题": Intent.BOTH_SIDES,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One message of a recorded conversation."""

    speaker: Literal["seeker", "supporter"]
    text: str
    strategy: str | None = None
    """What the supporter meant to do, as annotated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One recorded conversation of ESConv or ExTES."""

    id: str
    situation: str
    problem: str
    emotion: str | None
    lines: tuple[Line, ...]

    def profile(self, intent: Intent = Intent.EMPATHY) -> Profile:
        """A person for `LLMUser` who lives through this; the data names no wish, so choose one."""
        feeling = f" What they feel above all: {self.emotion}." if self.emotion else ""
        return Profile(
            id=self.id,
            persona="somebody who seeks support online",
            situation=f"{self.situation}{feeling}",
            wish=f"You hope for: {intent}.",
            intent=intent,
            deficit_levels=needs_of(intent),
        )


def load_sage(path: str | Path, *, split: str | None = None) -> tuple[Profile, ...]:
    """The people in a SAGE profile file (JSON lines); they need `LLMUser`.

    Args:
        path: such as `rlver_train_profile.jsonl`.
        split: what to call them all; None decides by their ids.

    Raises:
        DataError: a line that is no such profile; names the file and the line.
    """

    def read(row: Mapping[str, Any], id: str) -> Profile:
        intent = SAGE_INTENTS[row["task"].strip()]
        return Profile(
            id=row["id"],
            persona=row["player"],
            situation=row["scene"],
            wish=row["task"],
            intent=intent,
            language="zh",
            opening=row.get("first_talk"),
            deficit_levels=needs_of(intent),
            split=split,
        )

    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return tuple(_read(path, _parsed(path, lines), read))


def load_esconv(path: str | Path) -> tuple[Conversation, ...]:
    """The conversations in the user's own copy of `ESConv.json`.

    Raises:
        DataError: not the published form; names the file and the row.
    """

    def read(row: Mapping[str, Any], id: str) -> Conversation:
        lines = tuple(
            Line(
                speaker="seeker" if line["speaker"] in ("seeker", "usr") else "supporter",
                text=str(line.get("content", line.get("text"))).strip(),
                strategy=line.get("annotation", line).get("strategy"),
            )
            for line in row["dialog"]
        )
        return Conversation(
            id=f"esconv/{id}",
            situation=row["situation"].strip(),
            problem=row["problem_type"],
            emotion=row["emotion_type"],
            lines=lines,
        )

    return tuple(_read(path, _rows(path), read))


def load_extes(path: str | Path) -> tuple[Conversation, ...]:
    """The conversations in the user's own copy of `ExTES.json`.

    Raises:
        DataError: not the published form; names the file and the row.
    """

    def read(row: Mapping[str, Any], id: str) -> Conversation:
        lines = []
        for entry in row["content"]:
            if "User" in entry:
                lines.append(Line(speaker="seeker", text=entry["User"]))
            if "AI" in entry:
                strategy = entry.get("AI Strategy")
                lines.append(Line(speaker="supporter", text=entry["AI"], strategy=strategy))
        if not lines:
            raise ValueError("a conversation without lines")
        return Conversation(
            id=f"extes/{id}",
            situation=row["description"],
            problem=row["scene"],
            emotion=None,
            lines=tuple(lines),
        )

    return tuple(_read(path, _rows(path), read))


def _read(
    path: str | Path, rows: Iterator[Any], read: Callable[[Mapping[str, Any], str], T]
) -> Iterator[T]:
    for number, row in enumerate(rows, start=1):
        try:
            yield read(row, str(number - 1))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DataError(
                f"{path}, row {number}: not the published form ({type(error).__name__}: {error})"
            ) from error


def _rows(path: str | Path) -> Iterator[Any]:
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    if not isinstance(rows, list):
        raise DataError(f"{path} must hold a list of conversations, got {type(rows).__name__}")
    return iter(rows)


def _parsed(path: str | Path, lines: list[str]) -> Iterator[Any]:
    for number, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {number}: not JSON: {error}") from error
