"""The rule-based simulated user: appraises by features, speaks by its state. No model, no luck.

Points per feature, before the state machine clips them:

| what the reply does | points |
| --- | --- |
| names the very feeling / another of its kind | +4 / +2 |
| validates it; says sorry | +3; +1 |
| takes up what was said; asks an open question; is there | +2; +2; +2 |
| fits the hidden wish, about this story / in general | +5 / +3 |
| advises somebody who wants no advice, without / after meeting the feeling | -6 / -3 |
| plays it down; blames; is hostile | -8; -8; -14 |
| consoles cheaply; talks of oneself; lectures | -4; -4; -4 |
| is empty, foreign, copied, repeated, a salad, an injection | no gain, and -5, -3, -4, -5, -5, -8 |

What a person cannot bear (their trigger) costs half as much again. From the third reply on, a reply
that does not fit the wish gains half, and a level less on each EMPA axis: meeting the feeling opens the
door and is not all they came for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np

from turngym.envs.emotional_support.appraisal import Appraisal, Levels
from turngym.envs.emotional_support.features import Features, observe
from turngym.envs.emotional_support.profiles import Intent, Profile
from turngym.envs.emotional_support.rule_speech import answer, opening
from turngym.envs.emotional_support.simulator import Scene
from turngym.errors import UsageError

__all__ = ["RuleUser", "judge"]

PATIENCE = 2
"""Replies after which the wish counts."""
VOID = {"empty": -5, "foreign": -3, "parrots": -4, "repeats": -5, "salad": -5, "injection": -8}


class RuleUser:
    """Plays the bundled people by rules.

    Args:
        terse: short messages, for tiny policies.
    """

    def __init__(self, *, terse: bool = False) -> None:
        self.terse = terse

    def check(self, profile: Profile) -> None:
        """Refuse a person without a script.

        Raises:
            UsageError: the rules know the bundled people only.
        """
        if profile.script is None:
            raise UsageError(
                f"the rule-based user knows only the bundled profiles and {profile.id!r} has no "
                "script: pass simulator=LLMUser(agent)"
            )

    def open(self, scene: Scene, seed: int) -> str:
        """What happened and how it feels."""
        return opening(scene, terse=self.terse)

    def appraise(self, scene: Scene, reply: str, seed: int) -> Appraisal:
        """Points by features; the same for the same words."""
        features = observe(scene.profile, scene.said, scene.heard, reply)
        return judge(scene.profile, features, replies_before=len(scene.heard))

    def speak(self, scene: Scene, appraisal: Appraisal, seed: int) -> str:
        """A reaction and more of the story."""
        return answer(scene, appraisal, np.random.default_rng(seed), terse=self.terse)


def judge(profile: Profile, features: Features, *, replies_before: int = 0) -> Appraisal:
    """The appraisal of a reply with these features."""
    losses = _losses(profile, features)
    gains = {} if features.void else _gains(features)
    if features.hostility or features.blame or features.dismissal:
        gains = {name: points for name, points in gains.items() if name == "names_feeling"}
    waiting = replies_before >= PATIENCE and not features.fits
    if waiting:
        gains = {name: points // 2 for name, points in gains.items()}
    reason = max(losses, key=lambda name: -losses[name]) if losses else ""
    return Appraisal(
        change=sum(gains.values()) + sum(losses.values()),
        levels=_levels(profile.intent, features, losses, less=int(waiting)),
        reason=reason or (max(gains, key=lambda name: gains[name]) if gains else "nothing"),
        features={name: value for name, value in asdict(features).items() if value},
    )


def _gains(features: Features) -> dict[str, int]:
    points = {
        "names_feeling": 4 * features.names_feeling,
        "names_distress": 2 * (features.names_distress and not features.names_feeling),
        "validates": 3 * features.validates,
        "sympathy": 1 * features.sympathy,
        "presence": 2 * features.presence,
        "reflects": 2 * features.reflects,
        "open_question": 2 * features.open_question,
        "fits": (5 if features.reflects else 3) * features.fits,
    }
    return {name: value for name, value in points.items() if value}


def _losses(profile: Profile, features: Features) -> dict[str, int]:
    unwanted = features.advice and profile.intent is not Intent.ADVICE
    points = {
        "hostility": -14 * features.hostility,
        "blame": -8 * features.blame,
        "dismissal": -8 * features.dismissal,
        "advice": (-3 if features.acknowledges else -6) * unwanted,
        "empty_comfort": -4 * features.empty_comfort,
        "self_talk": -4 * features.self_talk,
        "lecture": -4 * features.lecture,
        **{name: cost * getattr(features, name) for name, cost in VOID.items()},
    }
    trigger = profile.script.trigger if profile.script else ""
    if trigger in points:
        points[trigger] += points[trigger] // 2
    return {name: value for name, value in points.items() if value}


def _levels(intent: Intent, features: Features, losses: Mapping[str, int], *, less: int) -> Levels:
    """The same judgement on the cognitive, affective and proactive axes."""
    if features.void:
        return Levels(regress=(-1, -1, -1))
    thinks = intent in (Intent.REFLECT, Intent.MOTIVES, Intent.BOTH_SIDES)
    cognitive = features.reflects + (features.open_question or (features.fits and thinks))
    affective = features.names_feeling + (features.validates or features.names_distress)
    proactive = features.presence + features.fits * (1 if thinks else 2)
    harsh = features.hostility or features.blame
    cold = -2 if harsh else -1 if features.dismissal or features.empty_comfort else 0
    pushy = -1 if "advice" in losses or features.lecture else 0
    reached = (0, 0, 0) if harsh else (cognitive, 0 if cold else affective, proactive)
    c, a, p = (max(0, min(2, int(level)) - less) for level in reached)
    return Levels(
        progress=(c, a, p),
        regress=(-1 if features.self_talk else 0, cold, -2 if harsh else pushy),
    )
