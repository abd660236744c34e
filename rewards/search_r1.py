"""The rewards of Search-R1: exact match, and exact match combined with the form of the transcript.

Source: Search-R1 (arXiv 2503.09516) and the format variant of its release v0.3. A transcript is
what the agent wrote and what was put between its replies, without the prompt: the original counts
`<answer>` with the prompt's example and therefore wants two; here one is enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from turngym.rewards.match import exact_match, normalize
from turngym.rewards.reward import reward
from turngym.types import Trajectory

__all__ = [
    "FormatScores",
    "last_answer",
    "recorded_em",
    "recorded_format",
    "search_r1_em",
    "search_r1_format",
    "transcript",
    "well_formed",
]

_TAG = re.compile(r"</?(?:think|search|information|answer)>")
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_INFORMATION = re.compile(r"<information>(.*?)</information>", re.DOTALL)

# Block that is closed -> blocks that may open next.
_NEXT = {
    "": {"think"},
    "think": {"search", "answer"},
    "search": {"information"},
    "information": {"think"},
    "answer": set[str](),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatScores:
    """Weights of the format reward."""

    structure: float = 0.2
    """A well-formed transcript with a wrong answer; also what a right answer loses without form."""
    answer: float = 0.1
    """A wrong answer in a malformed transcript."""
    retrieval: float = 0.0
    """Added to `structure` when a reference occurs in what was retrieved."""


def last_answer(text: str) -> str | None:
    """What the last complete `<answer>` holds, stripped; None when there is none."""
    answers = _ANSWER.findall(text)
    return str(answers[-1]).strip() if answers else None


def search_r1_em(text: str, references: Iterable[str]) -> float:
    """1 when the last answer of the transcript equals a reference after normalisation, else 0."""
    answer = last_answer(text)
    return float(answer is not None and exact_match(answer, references))


def well_formed(text: str) -> bool:
    """Whether a transcript is think (search information think)* answer and nothing else.

    Blocks are closed before the next one opens, and only white space lies between them.
    """
    closed, opened, position = "", "", 0
    for tag in _TAG.finditer(text):
        between, position = text[position : tag.start()], tag.end()
        name = tag.group().strip("</>")
        if tag.group().startswith("</"):
            if name != opened:
                return False
            closed, opened = name, ""
        else:
            if opened or between.strip() or name not in _NEXT[closed]:
                return False
            opened = name
    return closed == "answer" and not opened and not text[position:].strip()


def search_r1_format(
    text: str, references: Iterable[str], scores: FormatScores | None = None
) -> float:
    """The format reward of Search-R1 v0.3 for a transcript.

    right and well-formed 1, right and malformed 1 - structure; wrong or missing and well-formed
    structure (+ retrieval); wrong and malformed `answer`; missing and malformed 0.
    """
    scores, golds = scores or FormatScores(), tuple(references)
    valid, answer = well_formed(text), last_answer(text)
    if answer is not None and exact_match(answer, golds):
        return 1.0 if valid else 1.0 - scores.structure
    if valid:
        return scores.structure + (scores.retrieval if _retrieved(text, golds) else 0.0)
    return 0.0 if answer is None else scores.answer


def transcript(trajectory: Trajectory) -> str:
    """Replies of an episode, and between them what the environment showed, in order."""
    parts: list[str] = []
    for number, turn in enumerate(trajectory.turns):
        if number:
            parts += [message.content for message in turn.seen]
        reply = turn.completion.message
        # Some agents take the thoughts out of the text; the form is judged with them.
        thought = f"<think>{reply.reasoning}</think>" if reply.reasoning is not None else ""
        parts.append(thought + reply.content)
    return "\n".join(parts)


@reward("search_r1_em", level="trajectory")
def recorded_em(trajectory: Trajectory) -> float:
    """Exact match of the last answer of a recorded episode."""
    return search_r1_em(transcript(trajectory), trajectory.privileged.references)


@reward("search_r1_format", level="trajectory")
def recorded_format(trajectory: Trajectory) -> float:
    """The format reward of a recorded episode, weights of v0.3."""
    return search_r1_format(transcript(trajectory), trajectory.privileged.references)


def _retrieved(text: str, references: Iterable[str]) -> bool:
    blocks = [normalize(block) for block in _INFORMATION.findall(text)]
    golds = [gold for gold in map(normalize, references) if gold]
    return any(gold in block for gold in golds for block in blocks)
