"""Replay: answers an episode exactly as a recorded trajectory did, token ids included."""

from __future__ import annotations

from collections.abc import Iterable

from turngym.errors import UsageError, closest
from turngym.types import Completion, Context, Sampling, Trajectory

__all__ = ["RecordedAgent", "ReplayAgent"]


class ReplayAgent:
    """Gives the completions of one trajectory, in order."""

    def __init__(self, trajectory: Trajectory) -> None:
        self._trajectory = trajectory

    async def act(self, context: Context, *, sampling: Sampling, seed: int) -> Completion:
        """The completion recorded at this turn.

        Raises:
            UsageError: the environment went on longer, or showed other messages than recorded.
        """
        turn, recorded = len(context.turns), self._trajectory.turns
        if turn >= len(recorded):
            raise UsageError(
                f"episode {self._trajectory.episode} was recorded with {len(recorded)} turns; "
                f"the environment asks for turn {turn + 1}"
            )
        if recorded[turn].seen != context.new:
            raise UsageError(
                f"turn {turn + 1} of episode {self._trajectory.episode} shows other messages than "
                "recorded: the environment is not the one that was recorded, or not deterministic"
            )
        return recorded[turn].completion


class RecordedAgent:
    """Replays many trajectories, told apart by the name of their episode."""

    def __init__(self, trajectories: Iterable[Trajectory]) -> None:
        self._agents = {each.episode: ReplayAgent(each) for each in trajectories}

    async def act(self, context: Context, *, sampling: Sampling, seed: int) -> Completion:
        """The completion recorded at this turn of this episode.

        Raises:
            UsageError: the episode was not recorded, or went another way.
        """
        agent = self._agents.get(context.episode)
        if agent is None:
            raise UsageError(
                f"episode {context.episode} is not among the {len(self._agents)} recorded ones."
                f"{closest(context.episode, self._agents)} Episodes get the same names with the "
                "same environment, number of episodes and seed."
            )
        return await agent.act(context, sampling=sampling, seed=seed)
