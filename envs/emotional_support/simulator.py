"""What every simulated user is: something that opens, appraises a reply, and speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from turngym.envs.emotional_support.appraisal import Appraisal, Verdict
from turngym.envs.emotional_support.profiles import Profile

__all__ = ["Scene", "Simulator"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All a simulated user knows at one moment."""

    profile: Profile
    mood: int
    """0 to 100, from the state machine."""
    said: tuple[str, ...] = ()
    """The person's messages so far."""
    heard: tuple[str, ...] = ()
    """The supporter's replies so far."""
    verdict: Verdict = Verdict.OPEN


@runtime_checkable
class Simulator(Protocol):
    """One simulated user; it keeps no state, so that forks may share it.

    Raises of each method: `JudgeFailure` (appraise) or `SimulatorFailure` (open, speak) when a part
    that is not the agent's gave nothing usable after its retries.
    """

    def check(self, profile: Profile) -> None:
        """Raise `UsageError` when it cannot play this person."""
        ...

    def open(self, scene: Scene, seed: int) -> str:
        """The person's first message."""
        ...

    def appraise(self, scene: Scene, reply: str, seed: int) -> Appraisal:
        """How `reply` feels; `scene` is the moment before it."""
        ...

    def speak(self, scene: Scene, appraisal: Appraisal, seed: int) -> str:
        """The person's answer; `scene` is the moment after the reply, with the new mood."""
        ...
