"""A scripted agent that knows the gold searches and answers: demonstrations and upper bounds."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from turngym.types import Message, Privileged

__all__ = ["expert"]


def expert(
    messages: Sequence[Message], privileged: Privileged, *, noise: float = 0.0, seed: int = 0
) -> str:
    """The next reply in tags, without thoughts: the gold searches in order, then the right reply.

    Args:
        messages: from the first message of an episode, the agent's own among them.
        privileged: of the environment at this point.
        noise: probability of a mistake at each reply: a search loses words, or is left out, or an
            answer is some word that was shown. At 0.3 about half the episodes still succeed.
        seed: keys the mistakes, together with the number of replies so far.
    """
    said = [message.content for message in messages if message.role == "assistant"]
    rng = random.Random(f"{seed}/{len(said)}")
    slips = rng.random() < noise
    here = said[_start(said) :]
    if privileged.hidden_state["kind"] == "clarify" and not any("<clarify>" in s for s in here):
        return "<answer> unknown </answer>" if slips else "<clarify> which? </clarify>"
    done = sum("<search>" in text for text in here)
    queries = privileged.gold_actions
    if done < len(queries) and not (slips and done):
        words = queries[done].split()
        kept = rng.sample(words, max(len(words) // 2, 1)) if slips else words
        return f"<search> {' '.join(kept).rstrip('?')} </search>"
    if slips:
        shown = re.findall(r"\w+", messages[-1].content) or ["unknown"]
        return f"<answer> {rng.choice(shown)} </answer>"
    if privileged.hidden_state["kind"] == "no_answer":
        return "<noanswer></noanswer>"
    return f"<answer> {privileged.references[0]} </answer>"


def _start(said: Sequence[str]) -> int:
    """Number of the first reply to the question being answered."""
    ends = [n for n, text in enumerate(said) if "<answer>" in text or "<noanswer>" in text]
    return ends[-1] + 1 if ends else 0
