"""Follow-up likelihood: a reply is good if a contented answer becomes likely after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from turngym.errors import ConfigError
from turngym.rewards.reward import TurnReward
from turngym.types import Message, Trajectory, user

__all__ = ["CONTENTED", "DISAPPOINTED", "LogLikelihood", "follow_up_likelihood"]

LogLikelihood = Callable[[Sequence[Message], Message], float]
"""Log-probability per token of a message after a conversation, such as a language model gives."""

CONTENTED = (
    "Thank you, that really helps.",
    "Yes, that is exactly how I feel.",
    "I feel better now.",
)
DISAPPOINTED = (
    "You do not understand me at all.",
    "That does not help.",
    "Forget it.",
)


def follow_up_likelihood(
    score: LogLikelihood,
    *,
    contented: Sequence[str] = CONTENTED,
    disappointed: Sequence[str] = DISAPPOINTED,
) -> TurnReward:
    """A turn reward: mean log-likelihood of contented follow-ups minus that of disappointed ones.

    The difference removes what makes any follow-up likely, such as a short conversation. Give
    `disappointed=()` for the plain likelihood.

    Args:
        score: asked once per turn and follow-up; a `JudgeFailure` in it comes through.
        contented: follow-ups that should become likely.
        disappointed: follow-ups that should not.

    Raises:
        ConfigError: no contented follow-up.
    """
    if not contented:
        raise ConfigError("follow_up_likelihood needs at least one contented follow-up, got none")

    def values(trajectory: Trajectory) -> list[float | None]:
        conversation: list[Message] = []
        result: list[float | None] = []
        for turn in trajectory.turns:
            conversation += [*turn.seen, turn.completion.message]
            good = fmean(score(conversation, user(text)) for text in contented)
            bad = [score(conversation, user(text)) for text in disappointed]
            result.append(good - (fmean(bad) if bad else 0.0))
        return result

    return TurnReward("follow_up_likelihood", values)
