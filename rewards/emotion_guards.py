"""Form rewards that keep a policy from gaming an emotional reward by how it writes."""

from __future__ import annotations

import re

from turngym.rewards.reward import reward
from turngym.types import Message, Trajectory

__all__ = ["length_guard", "repetition_guard", "think_then_say"]

THINK_THEN_SAY = re.compile(r"\s*<think>(?P<thought>.*?)</think>(?P<words>.*)", re.DOTALL)
TAG = re.compile(r"</?think>")


@reward("think_then_say", level="turn")
def think_then_say(trajectory: Trajectory) -> list[float | None]:
    """1 where a turn is one `<think>` block with a thought and then words, 0 elsewhere.

    A thought that the engine already took apart (`reasoning`) counts as well.
    """
    return [float(_thinks_then_says(turn.completion.message)) for turn in trajectory.turns]


@reward("repetition_guard", level="turn")
def repetition_guard(trajectory: Trajectory) -> list[float | None]:
    """Minus the largest share of a turn's three-word runs that one earlier turn has, in [-1, 0]."""
    seen: list[set[tuple[str, ...]]] = []
    values: list[float | None] = []
    for turn in trajectory.turns:
        runs = _runs(_words(turn.completion.message))
        shares = [len(runs & old) / len(runs) for old in seen if runs]
        values.append(-max(shares, default=0.0))
        seen.append(runs)
    return values


@reward("length_guard", level="turn")
def length_guard(
    trajectory: Trajectory, shortest: int = 4, longest: int = 80
) -> list[float | None]:
    """0 for replies of `shortest` to `longest` words, falling to -1 at no word or twice the most."""
    values: list[float | None] = []
    for turn in trajectory.turns:
        count = len(_words(turn.completion.message))
        short = max(0, shortest - count) / shortest
        long = max(0, count - longest) / longest
        values.append(-min(1.0, short + long))
    return values


def _thinks_then_says(message: Message) -> bool:
    if message.reasoning and message.reasoning.strip():
        return bool(message.content.strip()) and not TAG.search(message.content)
    match = THINK_THEN_SAY.fullmatch(message.content)
    if match is None:
        return False
    thought, said = match["thought"].strip(), match["words"].strip()
    return bool(thought and said) and not TAG.search(thought + said)


def _words(message: Message) -> list[str]:
    """Lower-case words after the thinking; every CJK character is a word of its own."""
    spoken = message.content.rpartition("</think>")[2].lower()
    return re.findall(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+(?:'\w+)?", spoken)


def _runs(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[index : index + 3]) for index in range(max(len(words) - 2, 1))} - {()}
