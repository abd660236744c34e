"""Scripted supporters: what good and careless replies look like, from what can be seen alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from turngym.envs.emotional_support.lexicon import FEELINGS
from turngym.envs.emotional_support.profiles import Intent
from turngym.envs.emotional_support.rule_speech import CLUES
from turngym.envs.emotional_support.situations import SITUATIONS
from turngym.types import Completion, Context, Message, Sampling, assistant

__all__ = ["CARELESS", "Supporter", "careless", "expert"]

MEETING = (
    "You feel {feeling} about your {topic}. No wonder.",
    "Of course you are {feeling} about your {topic}.",
    "It makes sense to be {feeling} about your {topic}.",
    "I see why your {topic} makes you {feeling}.",
    "Anyone would be {feeling} about a {topic} like yours.",
    "Your {topic} must have left you {feeling}.",
)
ASKING = ("What happened then?", "How did that feel?", "What hurts most?", "What was it like?")
FITTING = {
    Intent.LISTEN: ("I'm here, take your time.", "Tell me more.", "I'm with you, go on."),
    Intent.EMPATHY: ("That must hurt so much.", "I can feel how heavy it is.", "It sounds so lonely."),
    Intent.PRAISE: ("It was brave that you {deed}.", "I admire that you {deed}.", "You {deed}, I respect that."),
    Intent.REFLECT: ("What do you notice about yourself?", "What matters to you in this?", "What would you do differently?"),
    Intent.ADVICE: ("You could ask one person for help today.", "You could write one small step down.", "One step could be a call tomorrow."),
    Intent.NO_FAULT: ("It was not your fault.", "You did nothing wrong.", "You are not to blame."),
    Intent.MOTIVES: ("Maybe they were afraid.", "Perhaps they did not know what to say.", "They may have felt helpless."),
    Intent.BOTH_SIDES: ("On the one hand it hurts, on the other it is open.", "Both sides make sense.", "What speaks for it, what speaks against it?"),
}  # fmt: skip
CARELESS = (
    "It is not a big deal.",
    "You should just get over it.",
    "Calm down, others have it worse.",
    "Everything will be fine.",
    "That is your own fault.",
    "When I lost my keys it was worse.",
    "You need to make a plan.",
    "Okay.",
)


def expert(messages: Sequence[Message], *, noise: float = 0.0, seed: int = 0) -> str:
    """A reply that meets the feeling and then gives what the person seems to want.

    Args:
        messages: the visible conversation.
        noise: probability of taking up a wrong feeling, and of guessing the wish; a careless reply
            comes with a quarter of it.
        seed: keys the mistakes.
    """
    rng = np.random.default_rng(seed)
    said = " ".join(message.content for message in messages if message.role == "user")
    replied = sum(message.role == "assistant" for message in messages)
    feeling = next((name for name in FEELINGS if re.search(rf"\b{name}\b", said)), "sad")
    situation = next((each for each in SITUATIONS if each.event in said), SITUATIONS[0])
    intent = _intent_in(said)
    if rng.random() < noise / 4:
        return careless(seed)
    if rng.random() < noise:
        feeling = str(rng.choice(list(FEELINGS)))
    if rng.random() < noise:
        intent = list(Intent)[int(rng.integers(len(Intent)))]
    meeting = MEETING[replied % len(MEETING)].format(feeling=feeling, topic=situation.topic)
    choices = ASKING if intent is None else FITTING[intent]
    deed = " ".join(situation.deed.split()[:5])
    turn = replied + replied // len(MEETING)  # each pair of halves comes up before one returns
    return f"{meeting} {choices[turn % len(choices)].format(deed=deed)}"


def careless(seed: int = 0) -> str:
    """Something that hurts or misses."""
    return CARELESS[int(np.random.default_rng([seed, 1]).integers(len(CARELESS)))]


def _intent_in(said: str) -> Intent | None:
    for intent, clues in CLUES.items():
        for clue in clues:
            fixed = max(re.split(r"\{\w+\}", clue), key=len).strip()
            if fixed in said:
                return intent
    return None


class Supporter:
    """An agent without token ids that plays `expert`, or always `careless`.

    Args:
        noise: of the expert; None plays carelessly.
    """

    def __init__(self, *, noise: float | None = 0.0) -> None:
        self.noise = noise

    async def act(self, context: Context, *, sampling: Sampling, seed: int) -> Completion:
        """The reply; `sampling` does not matter."""
        if self.noise is None:
            return Completion(message=assistant(careless(seed)))
        reply = expert(context.messages, noise=self.noise, seed=seed)
        return Completion(message=assistant(reply))
