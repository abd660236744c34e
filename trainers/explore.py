"""The episodes of each step: played when they are needed, or one step ahead of the optimizer.

With `rollout.max_staleness = 1` the batch of step t + 1 is played by a thread, with the weights that
step t starts from, while step t trains on its own batch. Its turns carry that policy version. What
is played does not depend on who is faster, so such a run repeats itself, too; a resumed run finds
the batch that was played ahead among the trajectories on disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from turngym.errors import NotTheAgentsFault, StorageFailure
from turngym.rewards.rubric import Rubric
from turngym.serial import read_jsonl
from turngym.trainers.plan import mixed, plan, refill
from turngym.trainers.policy import Policy
from turngym.trainers.rollout import Group, rollout
from turngym.trainers.run import Run
from turngym.trainers.team import Team
from turngym.types import EpisodeStatus, Trajectory

__all__ = ["Explorer", "Played"]

Play = Callable[[Sequence[Group]], list[Trajectory]]

RETRIES = 3
PASSING = frozenset(
    {
        EpisodeStatus.JUDGE_ERROR,
        EpisodeStatus.SIMULATOR_ERROR,
        EpisodeStatus.INFRA_ERROR,
        EpisodeStatus.INFRA_TIMEOUT,
    }
)
"""Failures that may be over when the servers behind them are back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """The episodes of one step."""

    trajectories: list[Trajectory]
    """Those to learn from."""
    everyone: list[Trajectory]
    """Also those of groups that were replaced."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


class Explorer:
    """Plays with the policy's agent; changes no weights.

    Args:
        run: settings, and where the trajectories go.
        policy: who plays.
        tasks: of the training split.
        rubric: of the run, instead of what the environment pays.
        team: whose processes share the groups.
        report: hears of outages.
    """

    def __init__(
        self,
        run: Run,
        policy: Policy,
        tasks: Sequence[str],
        rubric: Rubric | None,
        team: Team,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.run, self.policy, self.tasks, self.team = run, policy, tasks, team
        self.report = report
        self._rubric = rubric
        self._ahead: Future[Played] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="explorer")

    def take(self, step: int) -> Played:
        """The batch of `step`: the one begun before, or one that is played now.

        One of which no episode counts, because of servers that may come back, is played again after
        `outage_wait_s`: the same tasks and seeds, so that the run is the one without the outage.

        Raises:
            NotTheAgentsFault: not one of its episodes can be used; the first error is named.
            StorageFailure: the disk takes no more trajectories.
        """
        if self._ahead is not None:
            # Interrupted while it waits, it still knows what is being played: see `settle`.
            self._ahead.exception()
            ahead, self._ahead = self._ahead, None
            played = ahead.result()
        else:
            played = self._play_now(step)
        for _ in range(RETRIES):
            if not _outage(played):
                break
            wait_s = self.run.config.outage_wait_s
            self.report(f"{_loss(played, step)}\nplaying the step again in {wait_s:g} s")
            time.sleep(wait_s)
            played = self._play_now(step)
        if not any(trajectory.status.counts for trajectory in played.everyone):
            raise NotTheAgentsFault(_loss(played, step))
        return played

    def _play_now(self, step: int) -> Played:
        self.policy.publish(step)
        return self._play(step)

    def begin(self, step: int) -> None:
        """Play the batch of `step` meanwhile, with the weights of now, which are one step older."""
        self.policy.publish(step - 1)
        self._ahead = self._thread.submit(self._play, step)

    def recall(self, step: int) -> None:
        """Take the batch of `step` from the trajectories on disk, where an earlier process played
        it ahead; without a usable one it will be played anew."""
        path = self.run.trajectory_file(f"step-{step:06d}")
        found = {t.episode: t for t in read_jsonl(path)} if path.exists() else {}

        def remember(groups: Sequence[Group]) -> list[Trajectory]:
            return [found[f"{group.key}/{i}"] for group in groups for i in range(group.size)]

        try:
            played = self._rounds(step, remember)
        except KeyError:  # it was cut off
            return
        if any(trajectory.status.counts for trajectory in played.everyone):
            self._ahead = Future()
            self._ahead.set_result(played)

    def settle(self) -> None:
        """Wait until nothing is being played; a failure is told by `take`."""
        if self._ahead is not None:
            self._ahead.exception()

    def close(self) -> None:
        """Begin nothing any more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _play(self, step: int) -> Played:
        try:
            return self._play_and_write(step)
        except OSError as error:  # episodes keep their own errors; this one came from writing them
            raise StorageFailure(
                f"cannot write trajectories into {self.run.folder}: {error}. Make room and "
                "continue with --resume"
            ) from error

    def _play_and_write(self, step: int) -> Played:
        alone = self.team.size == 1
        with ExitStack() as stack:
            writer = None
            if self.team.rank == 0:
                writer = stack.enter_context(self.run.trajectories(f"step-{step:06d}"))
            as_it_ends = writer.write if writer is not None and alone else None

            def play(groups: Sequence[Group]) -> list[Trajectory]:
                found = self.team.pool(lambda: self._rollout(groups, as_it_ends))
                if writer is not None and not alone:
                    for trajectory in found:
                        writer.write(trajectory)
                return found

            return self._rounds(step, play)

    def _rollout(
        self, groups: Sequence[Group], on_episode: Callable[[Trajectory], None] | None
    ) -> list[Trajectory]:
        config, mine = self.run.config, self.team.mine(groups)
        return rollout(
            config.env.make,
            self.policy.agent,
            mine,
            config.rollout,
            rubric=self._rubric,
            on_episode=on_episode,
        )

    def _rounds(self, step: int, play: Play) -> Played:
        """The planned groups, and others in the place of those whose outcomes are all equal."""
        config, began = self.run.config, time.perf_counter()
        everyone = first = play(plan(config, self.tasks, step))
        kept, extra, rounds = mixed(first), 0, 0
        while rounds < config.refills and len(kept) < config.groups_per_step:
            rounds += 1
            groups = refill(config, self.tasks, step, rounds, config.groups_per_step - len(kept))
            extra += len(groups)
            everyone = everyone + play(groups)
            kept = mixed(everyone)
        seconds = time.perf_counter() - began
        if not config.refills:
            return Played(trajectories=first, everyone=first, seconds=seconds)
        # Without one mixed group there is nothing to learn, but the step must still be made.
        chosen = [t for t in everyone if t.group in kept] if kept else first
        metrics = {
            "refill/rounds": float(rounds),
            "refill/groups": float(extra),
            "refill/left_out": float(config.groups_per_step + extra - len(kept)),
        }
        return Played(trajectories=chosen, everyone=everyone, metrics=metrics, seconds=seconds)


def _outage(played: Played) -> bool:
    """Whether every episode was lost to something that may pass."""
    return all(trajectory.status in PASSING for trajectory in played.everyone)


def _loss(played: Played, step: int) -> str:
    everyone = played.everyone
    broken = next((t for t in everyone if t.error), everyone[0])
    return (
        f"none of {len(everyone)} episodes of step {step} can be trained on; {broken.episode} "
        f"ended as {broken.status}:\n{broken.error}"
    )
