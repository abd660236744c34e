"""What is written down while an episode is played, whoever plays it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turngym.envs.env import TextEnv
from turngym.types import Completion, EpisodeStatus, Message, Trajectory, Turn, TurnStatus
from turngym.version import __version__

__all__ = ["Tape", "env_id"]

# Stored in fields of Turn or Trajectory; the rest of an environment's info stays info.
_KNOWN_INFO = frozenset(
    {
        "outcome",
        "success",
        "turn_reward",
        "rewards",
        "status",
        "feedback",
        "exchange",
        "anchor",
        "drops",
        "task_id",
    }
)


class Tape:
    """The turns of a running episode and what they earned."""

    def __init__(self) -> None:
        self.turns: tuple[Turn, ...] = ()
        self.closing: tuple[Message, ...] = ()
        """What the environment said after the last turn."""
        self._outcome: float | None = None
        self._success: bool | None = None
        self._reward_sum = 0.0
        self._exchange = 0

    def add(
        self,
        seen: tuple[Message, ...],
        completion: Completion,
        anchor: str,
        reward: float,
        info: Mapping[str, Any],
    ) -> None:
        """Write down a turn.

        Args:
            seen: messages that were new to the agent.
            completion: its reply.
            anchor: hash of the state that it saw.
            reward: of the step.
            info: of the step, with the keys that `TextEnv` names.
        """
        self._reward_sum += reward
        if "outcome" in info:
            self._outcome = float(info["outcome"])
        if "success" in info:
            self._success = bool(info["success"])
        turn_reward = info.get("turn_reward")
        turn = Turn(
            seen=seen,
            completion=completion,
            reward=None if turn_reward is None else float(turn_reward),
            rewards=dict(info.get("rewards", {})),
            exchange=self._exchange,
            status=TurnStatus(info.get("status", "ok")),
            feedback=str(info.get("feedback", "")),
            anchor=anchor,
            info={name: value for name, value in info.items() if name not in _KNOWN_INFO},
            drops=tuple(info.get("drops", ())),
        )
        self.turns = (*self.turns, turn)

    def hear(self, new: tuple[Message, ...], info: Mapping[str, Any]) -> None:
        """The episode goes on with `new`: a user's words begin another exchange."""
        asked = any(message.role == "user" for message in new)
        self._exchange = int(info.get("exchange", self._exchange + asked))

    @property
    def outcome(self) -> float:
        """The task score so far: what the environment said, or the sum of rewards."""
        return self._reward_sum if self._outcome is None else self._outcome

    def end(self, status: EpisodeStatus, *, success_at: float | None, **facts: Any) -> Trajectory:
        """The finished trajectory.

        Args:
            status: how it ended; outcome and success are None where it does not count.
            success_at: outcome from which it is solved, where the environment did not say.
            facts: the other fields of Trajectory.
        """
        success = self._success
        if success is None and success_at is not None:
            success = self.outcome >= success_at
        return Trajectory(
            turns=self.turns,
            status=status,
            closing=self.closing,
            outcome=self.outcome if status.counts else None,
            success=success if status.counts else None,
            versions={"turngym": __version__},
            **facts,
        )


def env_id(env: TextEnv | None) -> str:
    """The registered id; the name of the class where there is none, empty without environment."""
    if env is None:
        return ""
    return env.spec.id if env.spec is not None else type(env).__name__
