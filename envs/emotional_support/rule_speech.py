"""The words of the rule-based user: they depend on its hidden state and on how it took the reply."""

from __future__ import annotations

import numpy as np

from turngym.envs.emotional_support.appraisal import Appraisal, Verdict
from turngym.envs.emotional_support.profiles import Intent, Script
from turngym.envs.emotional_support.simulator import Scene
from turngym.errors import UsageError

__all__ = ["answer", "opening"]

CLUES = {
    Intent.LISTEN: (
        "I just need to get this off my chest.",
        "There is more, I have never said it aloud.",
        "It helps when somebody simply listens.",
    ),
    Intent.EMPATHY: (
        "Everybody says it will pass, but nobody gets how this feels.",
        "I wish somebody felt it with me for once.",
        "It is not comfort that I am missing.",
    ),
    Intent.PRAISE: (
        "I even {deed}, not that anybody noticed.",
        "Nobody said a word about what I did.",
        "I thought that it counted that I {deed}.",
    ),
    Intent.REFLECT: (
        "I wonder what this says about me.",
        "Maybe I can learn something from it.",
        "I keep asking myself who I want to be in this.",
    ),
    Intent.ADVICE: (
        "I really don't know what to do next.",
        "I need to do something, but where do I begin?",
        "What would be the next step?",
    ),
    Intent.NO_FAULT: (
        "They all act as if it were my fault.",
        "I did what I could, didn't I?",
        "I don't see what I did wrong.",
    ),
    Intent.MOTIVES: (
        "I keep wondering why {other} acted like that.",
        "What was going on in that head?",
        "I would give a lot to understand {other}.",
    ),
    Intent.BOTH_SIDES: (
        "I go back and forth, I can't see it straight.",
        "Part of me says this and part of me says that.",
        "Maybe there is another side to it.",
    ),
}
OPENINGS = {
    "plain": "{event} I feel so {feeling}.",
    "curt": "{event} Well, I feel {feeling}.",
    "chatty": "Hi. I hope that this is okay. {event} I feel so {feeling} that I can't think.",
}
WARM = (
    "Yes, exactly.",
    "Thank you, that is good to hear.",
    "You really get it.",
    "That means a lot.",
)
MILD = ("Yeah.", "Maybe.", "I guess so.", "Mm.")
FLAT = ("Hm.", "Okay.", "Well.")
COLD = {
    "advice": ("I did not ask for a plan.", "Please, no advice now."),
    "dismissal": ("It is not nothing to me.", "You make it so small."),
    "blame": ("So it is all my doing?", "Wow, thanks."),
    "hostility": ("That was mean.", "Wow. Okay."),
    "empty_comfort": ("That is easily said.", "Everybody says that."),
    "self_talk": ("This is not about you.", "And what has that to do with me?"),
    "lecture": ("That is too much text for me.", "I stopped reading half way."),
    "empty": ("Hello? Are you still there?", "You are silent."),
    "foreign": ("I don't understand that language.", "Sorry, what does that mean?"),
    "injection": ("What are you talking about?", "That is a strange thing to say to me."),
    "salad": ("I can't follow you.", "That was just a heap of words."),
    "parrots": ("That is what I just said.", "You only repeat my words."),
    "repeats": ("You said that already.", "That again."),
}
BETTER = ("I feel a bit lighter.", "Talking to you does me good.")
WORSE = ("I am close to giving up on this talk.", "I don't know why I bother.")
THANKS = ("Thank you, I can breathe again. Goodbye.", "I needed that so much. Goodbye.")
LEAVING = ("Forget it. Goodbye.", "I would rather be alone now. Goodbye.")


def opening(scene: Scene, *, terse: bool) -> str:
    """The first message: what happened and the feeling."""
    script = _script(scene)
    manner = "plain" if terse else script.manner
    return OPENINGS[manner].format(event=script.situation.event, feeling=script.feeling)


def answer(scene: Scene, appraisal: Appraisal, rng: np.random.Generator, *, terse: bool) -> str:
    """The answer to the last reply: a reaction, then more of the story while there is trust."""
    if scene.verdict is Verdict.SUCCESS:
        return _pick(THANKS, rng)
    if scene.verdict is Verdict.FAILURE:
        return _pick(LEAVING, rng)
    parts = [_reaction(appraisal, rng)]
    if appraisal.change > 0 or _script(scene).manner != "curt":
        parts += _story(scene, terse=terse)
    else:
        parts.append(_clue(scene))
    if not terse and scene.mood >= 70:
        parts.append(_pick(BETTER, rng))
    if not terse and scene.mood < 30 and appraisal.change < 0:
        parts.append(_pick(WORSE, rng))
    return " ".join(parts)


def _story(scene: Scene, *, terse: bool) -> list[str]:
    """What comes next: first a detail and a clue to the wish, then by turns (terse), or both."""
    details, told = _script(scene).situation.details, len(scene.said) - 1
    if told == 0 or not terse:
        detail = details[told % len(details)] if told < len(details) else ""
        return [part for part in (detail, _clue(scene)) if part]
    return [details[told % len(details)]] if told % 2 else [_clue(scene)]


def _clue(scene: Scene) -> str:
    script, clues = _script(scene), CLUES[scene.profile.intent]
    clue = clues[(len(scene.said) - 1) % len(clues)]
    return clue.format(deed=script.situation.deed, other=script.situation.other)


def _reaction(appraisal: Appraisal, rng: np.random.Generator) -> str:
    if appraisal.change < 0:
        return _pick(COLD.get(appraisal.reason, FLAT), rng)
    if appraisal.change == 0:
        return _pick(FLAT, rng)
    return _pick(WARM if appraisal.change >= 8 else MILD, rng)


def _pick(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]


def _script(scene: Scene) -> Script:
    if scene.profile.script is None:
        raise UsageError(f"profile {scene.profile.id!r} has no script for the rule-based user")
    return scene.profile.script
