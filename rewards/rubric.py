"""Rubric: a weighted sum of rewards, applied to a recorded episode with its breakdown kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from turngym.errors import ConfigError, JudgeFailure, NotTheAgentsFault
from turngym.rewards.reward import Reward, TurnValue, trajectory_value, turn_values
from turngym.types import EpisodeStatus, Trajectory, Turn, TurnStatus

__all__ = ["Rubric", "Weighted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighted:
    """One term of a rubric. Weight 0 records the reward without counting it."""

    reward: Reward
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rubric:
    """Rewards of both levels with their weights.

    A level without terms is left as the environment gave it. Example:

        Rubric(terms=(Weighted(reward=solved), Weighted(reward=polite, weight=0.2)))
    """

    terms: tuple[Weighted, ...]
    default: Literal["replace", "add"] = "replace"
    """What becomes of the environment's own reward: replaced, or added to the sum."""

    def __post_init__(self) -> None:
        names = [term.reward.name for term in self.terms]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(f"a rubric has two rewards called {twice!r}; names key the breakdown")

    def apply(self, trajectory: Trajectory) -> Trajectory:
        """The episode with new rewards; `rewards` holds every term unweighted, by name.

        A judge that fails on a turn leaves that turn without reward, with status `reward_missing`.
        One that fails on the episode gives status `judge_error` and no outcome. An episode that
        broke through no fault of the agent comes back as it was.
        """
        if not trajectory.status.counts:
            return trajectory
        return self._apply_to_episode(self._apply_to_turns(trajectory))

    def _of_level(self, level: str) -> list[Weighted]:
        return [term for term in self.terms if term.reward.level == level]

    def _apply_to_turns(self, trajectory: Trajectory) -> Trajectory:
        terms = self._of_level("turn")
        if not terms:
            return trajectory
        columns = [_column(term.reward, trajectory) for term in terms]
        turns = (
            self._scored(turn, terms, values)
            for turn, values in zip(trajectory.turns, zip(*columns, strict=True), strict=True)
        )
        return replace(trajectory, turns=tuple(turns))

    def _scored(self, turn: Turn, terms: Sequence[Weighted], values: Sequence[TurnValue]) -> Turn:
        parts: dict[str, float] = {}
        failures: list[str] = []
        total = turn.reward if self.default == "add" else None
        for term, value in zip(terms, values, strict=True):
            if isinstance(value, JudgeFailure):
                failures.append(f"{term.reward.name}: {value}")
            elif value is not None:
                parts[term.reward.name] = float(value)
                total = (total or 0.0) + term.weight * value
        rewards = {**turn.rewards, **parts}
        if not failures:
            return replace(turn, reward=total, rewards=rewards)
        info = {**turn.info, "reward_error": "; ".join(failures)}
        status = TurnStatus.REWARD_MISSING
        return replace(turn, reward=None, rewards=rewards, status=status, info=info)

    def _apply_to_episode(self, trajectory: Trajectory) -> Trajectory:
        terms = self._of_level("trajectory")
        if not terms:
            return trajectory
        try:
            parts = {term.reward.name: trajectory_value(term.reward, trajectory) for term in terms}
        except NotTheAgentsFault as error:
            return replace(
                trajectory,
                status=EpisodeStatus.JUDGE_ERROR,
                outcome=None,
                success=None,
                error=f"{type(error).__name__}: {error}",
            )
        start = (trajectory.outcome or 0.0) if self.default == "add" else 0.0
        rewards = {**trajectory.rewards, **parts}
        return replace(trajectory, outcome=start + _weigh(terms, parts), rewards=rewards)


def _column(reward: Reward, trajectory: Trajectory) -> tuple[TurnValue, ...]:
    """The values of one reward; one that failed as a whole has failed on every turn."""
    try:
        return turn_values(reward, trajectory)
    except NotTheAgentsFault as error:
        failure = JudgeFailure(f"{type(error).__name__}: {error}")
        return (failure,) * len(trajectory.turns)


def _weigh(terms: Sequence[Weighted], parts: Mapping[str, float]) -> float:
    return sum(term.weight * parts[term.reward.name] for term in terms)
