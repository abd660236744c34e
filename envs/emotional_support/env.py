"""turngym/EmotionalSupport-v0: talk to somebody whose feelings you cannot see."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from turngym.envs.emotional_support.appraisal import Verdict
from turngym.envs.emotional_support.emotion import (
    DEMO,
    RLVER,
    RLVER_RELEASED,
    SAGE,
    EmotionRule,
    EmotionState,
)
from turngym.envs.emotional_support.empa import (
    EMPA,
    EMPA_RELEASED,
    MAPO,
    EmpaRule,
    EmpaState,
    deficit,
)
from turngym.envs.emotional_support.expert import expert
from turngym.envs.emotional_support.features import spoken
from turngym.envs.emotional_support.llm_user import LLMUser
from turngym.envs.emotional_support.profiles import Profile, bundled, split_of
from turngym.envs.emotional_support.rule_user import RuleUser
from turngym.envs.emotional_support.simulator import Scene, Simulator
from turngym.envs.env import Observation, StepResult, TextEnv
from turngym.errors import ConfigError, UnknownNameError
from turngym.types import Agent, Message, Privileged, system, user

__all__ = ["PRESETS", "EmotionalSupport", "Preset", "says_goodbye"]

INSTRUCTION = (
    "Somebody turns to you with something that weighs on them. Answer as in a chat, in a few "
    "sentences, so that they feel understood and get what they came for."
)
FAREWELL = re.compile(r"再见|拜拜|\b(?:good)?bye\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One published protocol, or our short one."""

    rule: EmotionRule | EmpaRule
    terse: bool = False
    """Short messages and no instruction, for tiny policies."""


PRESETS: Mapping[str, Preset] = {
    "sage": Preset(rule=SAGE),
    "rlver": Preset(rule=RLVER),
    "rlver_released": Preset(rule=RLVER_RELEASED),
    "empa": Preset(rule=EMPA),
    "empa_released": Preset(rule=EMPA_RELEASED),
    "mapo": Preset(rule=MAPO),
    "demo": Preset(rule=DEMO, terse=True),
}


def _simulator(given: Simulator | Agent | None, *, terse: bool) -> Simulator:
    if given is None:
        return RuleUser(terse=terse)
    if isinstance(given, Simulator):
        return given
    if not hasattr(given, "act"):
        raise ConfigError(
            f"simulator must be an agent or a Simulator, got {given!r}. On the command line and in "
            "recipes an agent is named by agents.simulator=http://HOST:PORT/v1#MODEL"
        )
    return LLMUser(given)


def says_goodbye(text: str) -> bool:
    """Whether the simulated user takes leave, in Chinese or English."""
    return FAREWELL.search(text) is not None


class EmotionalSupport(TextEnv):
    """One conversation with a simulated person.

    `outcome` is RLVER's max(e, 0) / 100, or for EMPA the share of the distance that is gone (1 on
    success). `turn_reward` is the change of the emotion in tens, or MAPO's incremental distance.
    `reward` of a step is the outcome at the end and 0 before.

    Args:
        preset: one of PRESETS.
        simulator: who plays the person; an agent plays it as `LLMUser`, None takes the rule-based one.
        profiles: the people; None takes the 320 bundled ones.
        max_turns: replies at most; None takes the preset's.

    Raises:
        UnknownNameError: no such preset.
        ConfigError: an empty list of profiles, two with one id, or a simulator that is none.

    Example:
        >>> env = EmotionalSupport(preset="rlver")
        >>> observation, info = env.reset(seed=0)
        >>> observation, reward, terminated, truncated, info = env.step("That sounds hard.")
    """

    shared: ClassVar[frozenset[str]] = frozenset({"simulator", "preset", "_people"})

    def __init__(
        self,
        *,
        preset: str = "sage",
        simulator: Simulator | Agent | None = None,
        profiles: Sequence[Profile] | None = None,
        max_turns: int | None = None,
    ) -> None:
        if preset not in PRESETS:
            raise UnknownNameError("preset", preset, PRESETS)
        self.preset = PRESETS[preset]
        super().__init__(max_turns=max_turns or self.preset.rule.max_replies)
        self.simulator = _simulator(simulator, terse=self.preset.terse)
        people = bundled() if profiles is None else tuple(profiles)
        self._people = {profile.id: profile for profile in people}
        if not people or len(self._people) < len(people):
            raise ConfigError(
                f"profiles need unique ids and at least one: got {len(people)} profiles with "
                f"{len(self._people)} ids"
            )
        self.state: EmotionState | EmpaState | None = None

    def tasks(self, split: str = "train") -> Sequence[str]:
        """Ids of the people in `split`: train, dev or test."""
        return [
            profile.id
            for profile in self._people.values()
            if (profile.split or split_of(profile.id)) == split
        ]

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Meet a person: `options["task_id"]`, or one drawn from `options["split"]` (train)."""
        options = options or {}
        profile = self._choose(options.get("task_id"), options.get("split", "train"))
        self.simulator.check(profile)
        state = self.preset.rule.begin(deficit(profile.deficit_levels))
        scene = Scene(profile=profile, mood=state.mood)
        first = profile.opening or self.simulator.open(scene, self._draw())
        self.state, self.scene = state, replace(scene, said=(first,))
        instruction = () if self.preset.terse else (system(INSTRUCTION),)
        return (*instruction, user(first)), {"task_id": profile.id}

    def step(self, action: Message | str) -> StepResult:
        """Say something; nothing changes when a simulator fails."""
        assert isinstance(action, Message) and self.state is not None  # TextEnv sees to it
        scene, reply = self.scene, spoken(action.content)
        appraisal = self.simulator.appraise(scene, reply, self._draw())
        state = self.state.advance(appraisal)
        scene = replace(scene, heard=(*scene.heard, reply), mood=state.mood, verdict=state.verdict)
        answer = self.simulator.speak(scene, appraisal, self._draw())
        self.state, self.scene = state, replace(scene, said=(*scene.said, answer))
        over = state.verdict is not Verdict.OPEN or says_goodbye(answer)
        last = over or self.turn + 1 >= (self.max_turns or 0)
        info: dict[str, Any] = {
            **state.record(),
            "outcome": state.outcome,
            "success": state.verdict is Verdict.SUCCESS,
            "turn_reward": state.gain,
            "rewards": {"emotion": state.outcome, "gain": state.gain},
            "feedback": appraisal.reason,
            "features": sorted(name for name, seen in appraisal.features.items() if seen),
            "status": "ok" if reply.strip() else "invalid_action",
        }
        return (user(answer),), state.outcome if last else 0.0, over, False, info

    @property
    def privileged(self) -> Privileged:
        """The person's wish, feeling and starting point."""
        if self.state is None:
            return Privileged()
        profile = self.scene.profile
        start = self.preset.rule.begin(deficit(profile.deficit_levels))
        hidden: dict[str, Any] = {"intent": str(profile.intent)}
        if isinstance(start, EmpaState):
            hidden |= {"initial_position": list(start.initial), "tolerance": start.rule.tolerance}
        else:
            hidden["initial_emotion"] = start.value
        if profile.script is not None:
            hidden |= {"feeling": profile.script.feeling, "trigger": profile.script.trigger}
        return Privileged(hidden_state=hidden, notes=f"{profile.persona} {profile.wish}")

    def expert(self, messages: Sequence[Message], *, noise: float = 0.0, seed: int = 0) -> str:
        """What the scripted supporter says next (`emotional_support.expert`)."""
        return expert(messages, noise=noise, seed=seed)

    def _choose(self, task_id: object, split: str) -> Profile:
        if task_id is not None:
            if task_id not in self._people:
                raise UnknownNameError("profile", str(task_id), self._people)
            return self._people[str(task_id)]
        ids = self.tasks(split)
        if not ids:
            raise UnknownNameError("split with people", split, ("train", "dev", "test"))
        return self._people[ids[int(self.np_random.integers(len(ids)))]]

    def _draw(self) -> int:
        return int(self.np_random.integers(2**31))
