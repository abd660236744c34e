"""The episodes of one step, played again if an outage has taken all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from turngym.errors import NotTheAgentsFault, StorageFailure
from turngym.rewards.rubric import Rubric
from turngym.trainers.policy import Policy
from turngym.trainers.rollout import Group, rollout
from turngym.trainers.run import Run
from turngym.types import EpisodeStatus, Trajectory

__all__ = ["explore"]

ATTEMPTS = 4
PASSING = frozenset(
    {
        EpisodeStatus.JUDGE_ERROR,
        EpisodeStatus.SIMULATOR_ERROR,
        EpisodeStatus.INFRA_ERROR,
        EpisodeStatus.INFRA_TIMEOUT,
    }
)
"""Failures that may be over when the servers behind them are back."""


def explore(
    run: Run,
    policy: Policy,
    rubric: Rubric | None,
    groups: Sequence[Group],
    step: int,
    report: Callable[[str], None],
) -> list[Trajectory]:
    """The step's trajectories, which lie in the run's folder, too. Changes no weights.

    A step of which not one episode counts, because of servers that may come back, is played again
    after `outage_wait_s`: the same tasks and seeds, so that the run is the one without the outage.

    Raises:
        NotTheAgentsFault: not one episode can be used; the first error is named.
        StorageFailure: the disk takes no more trajectories.
    """
    policy.agent.load(policy.model, version=step)
    for attempt in range(1, ATTEMPTS + 1):
        done = _play(run, policy, rubric, groups, step)
        if any(trajectory.status.counts for trajectory in done):
            break
        broken = next((t for t in done if t.error), done[0])
        passing = all(trajectory.status in PASSING for trajectory in done)
        if attempt == ATTEMPTS or not passing:
            raise NotTheAgentsFault(
                f"none of {len(done)} episodes of step {step} can be trained on; {broken.episode} "
                f"ended as {broken.status}:\n{broken.error}"
            )
        wait_s = run.config.outage_wait_s
        cause = broken.error.strip().rpartition("\n")[2]
        report(
            f"all {len(done)} episodes of step {step} were lost, the first one to "
            f"{broken.status} ({cause}); playing it again in {wait_s:g} s"
        )
        time.sleep(wait_s)
    return done


def _play(
    run: Run, policy: Policy, rubric: Rubric | None, groups: Sequence[Group], step: int
) -> list[Trajectory]:
    config = run.config
    try:
        with run.trajectories(f"step-{step:06d}") as writer:
            return rollout(
                config.env.make,
                policy.agent,
                groups,
                config.rollout,
                rubric=rubric,
                on_episode=writer.write,
            )
    except OSError as error:  # episodes keep their own errors; this one came from writing them
        raise StorageFailure(
            f"cannot write trajectories into {run.folder}: {error}. Make room and continue with "
            "--resume"
        ) from error
