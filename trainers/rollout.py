"""Env + Agent -> Trajectories: groups from one initial state, under budgets.

A group resets once and forks; equal fingerprints prove that its members start alike. Synchronous
environments run in threads, one per episode at work; with `workers` they run on a cluster. An episode
whose worker dies is played again from its beginning: same task, same seeds, one trajectory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, runtime_checkable

from turngym.envs.env import TextEnv
from turngym.envs.fleet.cluster import MOVES, RayWorkers, parse_workers
from turngym.errors import EnvironmentFailure, UsageError
from turngym.rewards.rubric import Rubric
from turngym.trainers.episode import Episode, Group, Origin, RolloutConfig
from turngym.types import Agent, Trajectory

__all__ = ["BarrierAgent", "Group", "RolloutConfig", "arollout", "rollout"]


@runtime_checkable
class BarrierAgent(Protocol):
    """An agent that forms batches, and so wants to know which episodes are alive."""

    def begin(self, episode: str) -> None:
        """`episode` will ask for replies until it is released."""
        ...

    def release(self, episode: str) -> None:
        """`episode` is over: drop its cache and stop waiting for it."""
        ...


def rollout(
    make_env: Callable[[], TextEnv],
    agent: Agent,
    groups: Iterable[Group],
    config: RolloutConfig | None = None,
    *,
    rubric: Rubric | None = None,
    on_episode: Callable[[Trajectory], None] | None = None,
) -> list[Trajectory]:
    """The trajectories of all groups, in order of groups and members, failures included.

    Args:
        make_env: makes a fresh environment; called once per group.
        agent: answers; shared by all episodes.
        groups: what to run.
        config: budgets; the default suits a laptop.
        rubric: rewards that replace or add to the environment's, given when an episode has ended.
        on_episode: called with each trajectory as it ends (to write it, to show progress).

    Raises:
        UsageError: called from a running event loop; await `arollout` there.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(
            arollout(make_env, agent, groups, config, rubric=rubric, on_episode=on_episode)
        )
    raise UsageError("rollout() inside a running event loop: use `await arollout(...)`")


async def arollout(
    make_env: Callable[[], TextEnv],
    agent: Agent,
    groups: Iterable[Group],
    config: RolloutConfig | None = None,
    *,
    rubric: Rubric | None = None,
    on_episode: Callable[[Trajectory], None] | None = None,
) -> list[Trajectory]:
    """The async form of `rollout`. When cancelled, running episodes are reported as `cancelled`."""
    config, tell = config or RolloutConfig(), on_episode or (lambda _: None)
    where = parse_workers(config.workers) if config.workers else None
    if isinstance(where, RayWorkers):
        from turngym.envs.fleet.env import environments

        make_here = make_env
        make_env = await asyncio.to_thread(environments, where, lambda _: make_here())
    runner = _Runner(make_env, agent, config, rubric, tell)
    return await runner.run(list(groups))


class _Runner:
    def __init__(
        self,
        make_env: Callable[[], TextEnv],
        agent: Agent,
        config: RolloutConfig,
        rubric: Rubric | None,
        on_episode: Callable[[Trajectory], None],
    ) -> None:
        self.make_env, self.agent, self.config = make_env, agent, config
        self.rubric, self.on_episode = rubric, on_episode
        self.origins: dict[str, asyncio.Task[Origin]] = {}
        self.states: dict[str, str] = {}
        """Fingerprint at which each group began."""

    async def run(self, groups: Sequence[Group]) -> list[Trajectory]:
        """All trajectories, in order of groups and members."""
        members = [(group, index) for group in groups for index in range(group.size)]
        if not members:
            return []
        # Threads appear only as needed. The bound leaves room beside steps that hang for ever.
        executor = ThreadPoolExecutor(len(members) + 1, thread_name_prefix="episode")
        wave = self.config.concurrency if self.config.deterministic else len(members)
        done: list[Trajectory] = []
        try:
            for start in range(0, len(members), wave):
                done.extend(await self._wave(members[start : start + wave], executor))
        finally:
            for origin in self.origins.values():
                origin.cancel()
            # A step that hangs cannot be killed; waiting for it would hang the run as well.
            executor.shutdown(wait=False, cancel_futures=False)
        return done

    async def _wave(
        self, members: Sequence[tuple[Group, int]], executor: ThreadPoolExecutor
    ) -> list[Trajectory]:
        free = asyncio.Semaphore(self.config.concurrency)
        if self.config.deterministic:
            # Everyone is announced before anyone asks, so that no batch can leave too early.
            for group, index in members:
                self._begin(f"{group.key}/{index}")
        running = []
        try:
            async with asyncio.TaskGroup() as tasks:
                for group, index in members:
                    await free.acquire()
                    if not self.config.deterministic:
                        self._begin(f"{group.key}/{index}")
                    origin = self._origin(group, executor)
                    running.append(tasks.create_task(self._one(group, index, origin, executor)))
                    running[-1].add_done_callback(lambda _: free.release())
        except ExceptionGroup as broken:
            # Episodes end as trajectories; what comes out here is the caller's, such as a full disk.
            raise broken.exceptions[0] from None
        return [task.result() for task in running]

    async def _one(
        self,
        group: Group,
        index: int,
        origin: asyncio.Task[Origin],
        executor: ThreadPoolExecutor,
    ) -> Trajectory:
        done, lost = await self._played(group, index, origin, executor)
        for _ in range(MOVES):
            if not lost:
                break
            self._begin(done.episode)
            again = asyncio.create_task(self._reset(group, executor, members=1))
            self.origins[f"{done.episode} again"] = again
            done, lost = await self._played(group, index, again, executor)
        if self.rubric is not None:
            # In a thread, and after the release: a judge takes its time, the agent need not wait.
            loop = asyncio.get_running_loop()
            done = await loop.run_in_executor(executor, self.rubric.apply, done)
        self.on_episode(done)
        return done

    async def _played(
        self,
        group: Group,
        index: int,
        origin: asyncio.Task[Origin],
        executor: ThreadPoolExecutor,
    ) -> tuple[Trajectory, bool]:
        """The trajectory, and whether it ended because its worker died."""
        episode = Episode(
            group=group,
            member=index,
            origin=origin,
            agent=self.agent,
            config=self.config,
            executor=executor,
        )
        try:
            return await episode.run(on_cancel=self.on_episode), episode.lost
        finally:
            release = getattr(self.agent, "release", None)
            if release is not None:
                release(episode.key)

    def _origin(self, group: Group, executor: ThreadPoolExecutor) -> asyncio.Task[Origin]:
        if group.key not in self.origins:
            reset = self._reset(group, executor, members=group.size)
            self.origins[group.key] = asyncio.create_task(reset)
        return self.origins[group.key]

    async def _reset(self, group: Group, executor: ThreadPoolExecutor, members: int) -> Origin:
        limit_s = self.config.step_timeout_s
        origin = await Origin.reset(self.make_env, group, executor, limit_s, members)
        began = self.states.setdefault(group.key, origin.fingerprint)
        if origin.fingerprint != began:
            executor.submit(origin.env.close)
            raise EnvironmentFailure(
                f"{type(origin.env).__name__} was reset again with seed {group.seed} because its "
                f"worker died, and starts from another state: fingerprint {origin.fingerprint}, the "
                f"group began at {began}"
            )
        return origin

    def _begin(self, episode: str) -> None:
        if isinstance(self.agent, BarrierAgent):
            self.agent.begin(episode)
