"""A scripted agent for the invented world that sees only what an agent sees.

It resolves "that town" and "And Kato?" from the conversation, searches hop by hop, reads the facts
in what was found, asks back when a question names nobody, and says when a fact is told nowhere.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from turngym.envs.conversational_qa.conversations import ASK_BACK_TEXT, NO_ANSWER_TEXT
from turngym.envs.conversational_qa.world import RELATIONS, Relation, Voice, state, word
from turngym.errors import DataError
from turngym.types import Message

__all__ = ["expert"]

# Terse names have several words, and "of" is in none of them.
_NAMES: Mapping[Voice, str] = {"plain": r"\w+", "terse": r"(?:(?!of\b)\w+ )*\w+"}
_ENDING = re.compile(r"<(answer|noanswer|clarify)>(.*?)</\1>", re.DOTALL)
_PATHS = tuple((first,) for first in RELATIONS) + tuple(
    (first, second) for first in RELATIONS for second in RELATIONS if second.subject == first.target
)


@dataclass(slots=True, kw_only=True)
class _Reading:
    """What the conversation has said so far."""

    voice: Voice
    named: dict[str, str] = field(default_factory=dict)
    """Kind to the entity of this kind that was named last."""
    path: tuple[Relation, ...] = ()
    subject: str = ""
    """Empty while the question names nobody that is known."""
    found: list[str] = field(default_factory=list)
    """What the searches for this question have shown."""


def expert(messages: Sequence[Message], *, noise: float = 0.0, seed: int = 0) -> str:
    """The next reply in tags, without thoughts.

    Args:
        messages: from the first message of an episode over the invented world, protocol `tags`.
        noise: probability of a mistake at each reply: a search loses half its words, or an answer is
            some word that was shown. At 0.3 about half the episodes of `demo` succeed.
        seed: keys the mistakes, together with the number of replies so far.

    Raises:
        DataError: a question is not one of the invented world's.
    """
    reading = _read(messages)
    rng = random.Random(f"{seed}/{sum(message.role == 'assistant' for message in messages)}")
    slips = rng.random() < noise
    if not reading.subject:
        return "<answer> unknown </answer>" if slips else "<clarify> which? </clarify>"
    value, hops = _follow(reading)
    if value is None and len(reading.found) <= hops:
        words = (
            word(reading.path[hops:], _reached(reading, hops), reading.voice).rstrip("?").split()
        )
        kept = rng.sample(words, len(words) // 2) if slips else words
        return f"<search> {' '.join(kept)} </search>"
    if slips:
        shown = re.findall(r"\w+", reading.found[-1]) or ["unknown"]
        return f"<answer> {rng.choice(shown)} </answer>"
    return "<noanswer></noanswer>" if value is None else f"<answer> {value} </answer>"


def _follow(reading: _Reading) -> tuple[str | None, int]:
    """The answer, or None, and how many relations the passages found so far lead along."""
    value = reading.subject
    for hops, relation in enumerate(reading.path):
        sentence = re.escape(state(relation, value, "?", reading.voice))
        name = _NAMES[reading.voice]
        match = re.search(rf"\b{sentence}".replace(r"\?", f"({name})"), " ".join(reading.found))
        if match is None:
            return None, hops
        value = match[1]
    return value, len(reading.path)


def _reached(reading: _Reading, hops: int) -> str:
    part = _Reading(
        voice=reading.voice, path=reading.path[:hops], subject=reading.subject, found=reading.found
    )
    return _follow(part)[0] or ""


def _read(messages: Sequence[Message]) -> _Reading:
    opening = next(message.content for message in messages if message.role == "user")
    plain = "User query: " in opening
    reading = _Reading(voice="plain" if plain else "terse")
    for number, line in enumerate(_lines(opening, plain)):
        if number % 2:
            _hear_answer(reading, line)
        else:
            _hear_question(reading, line)
    first = next(n for n, message in enumerate(messages) if message.role == "user")
    for message in messages[first + 1 :]:
        if message.role == "assistant":
            ending = _ENDING.search(message.content)
            if ending and ending[1] == "answer":
                _hear_answer(reading, ending[2].strip())
        elif message.content.startswith("<information>"):
            reading.found.append(message.content)
        elif message.content and "invalid" not in message.content:
            _hear_question(reading, message.content.strip())
    return reading


def _lines(opening: str, plain: bool) -> list[str]:
    """Question, answer, question, ...: the history and the question."""
    lines = [line.strip() for line in opening.split("\n")]
    if not plain:
        return lines
    spoken = [line for line in lines if line not in ("<context>", "</context>")]
    return [line.partition(": ")[2] for line in spoken]


def _hear_answer(reading: _Reading, text: str) -> None:
    if text in (ASK_BACK_TEXT, NO_ANSWER_TEXT) or not reading.path:
        return
    kind = reading.path[-1].target
    if isinstance(kind, str):
        reading.named[kind] = text


def _hear_question(reading: _Reading, text: str) -> None:
    reading.found = []
    if reading.path and not reading.subject:  # the reply to asking back is a name
        reading.subject = text
    elif ellipsis := re.fullmatch(r"[Aa]nd ([\w ]+)\?", text):
        reading.subject = ellipsis[1]
    else:
        reading.path, subject = _understand(text, reading.voice)
        known = reading.named.get(subject.removeprefix("that "), "")
        reading.subject = known if subject.startswith("that ") else subject
    if reading.subject:
        reading.named[reading.path[0].subject] = reading.subject


def _understand(text: str, voice: Voice) -> tuple[tuple[Relation, ...], str]:
    subject = f"(that (?:person|town|firm)|{_NAMES[voice]})"
    for path in _PATHS:
        pattern = re.escape(word(path, "@", voice)).replace("@", subject)
        if match := re.fullmatch(pattern, text):
            return path, match[1]
    raise DataError(
        f"the scripted agent reads questions of the invented world, such as "
        f"{word(RELATIONS[:1], 'Kato', voice)!r}, got {text!r:.200}"
    )
