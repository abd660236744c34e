"""One running episode: plays an environment against an agent and always ends as a Trajectory.

Everything that breaks ends this episode with a status and leaves its siblings alone.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import Field, field_validator

from turngym.config import Config
from turngym.envs.canonical import digest
from turngym.envs.env import TextEnv
from turngym.envs.fleet.cluster import parse_workers
from turngym.errors import (
    AgentTimeoutError,
    ContextOverflow,
    EnvironmentFailure,
    InfraFailure,
    InfraTimeout,
    JudgeFailure,
    SimulatorFailure,
    WorkerLost,
)
from turngym.seeding import derive
from turngym.trainers.boundary import (
    check_completion,
    check_messages,
    checked_step,
    closed_on_failure,
    told,
    when_late,
)
from turngym.trainers.tape import Tape, env_id
from turngym.types import (
    Agent,
    Completion,
    Context,
    EpisodeStatus,
    Message,
    Privileged,
    Sampling,
    Trajectory,
)

__all__ = ["Episode", "Group", "Origin", "RolloutConfig"]

T = TypeVar("T")

STATUS_OF_ERROR: tuple[tuple[type[BaseException], EpisodeStatus], ...] = (
    (ContextOverflow, EpisodeStatus.TRUNCATED),
    (AgentTimeoutError, EpisodeStatus.AGENT_TIMEOUT),
    (JudgeFailure, EpisodeStatus.JUDGE_ERROR),
    (SimulatorFailure, EpisodeStatus.SIMULATOR_ERROR),
    (InfraTimeout, EpisodeStatus.INFRA_TIMEOUT),
    (InfraFailure, EpisodeStatus.INFRA_ERROR),
    (EnvironmentFailure, EpisodeStatus.ENV_ERROR),
)


class RolloutConfig(Config):
    """Budgets and concurrency."""

    concurrency: int = 64
    """Episodes alive at once."""
    workers: str = ""
    """Where environments run: "" in this process, `ray:8` in eight processes of the Ray cluster that
    is running here or named by RAY_ADDRESS, `ray:8@HOST:PORT` of that one."""
    deterministic: bool = True
    """Start episodes in waves, so that an agent with barriers forms the same batches every time."""
    max_staleness: int = Field(default=0, ge=0, le=1)
    """1: while the optimizer works on a batch the next one is played with the weights of before."""
    act_timeout_s: float = 600.0
    """Time for one reply; beyond it the episode ends as `agent_timeout`."""
    step_timeout_s: float = 120.0
    """Time for one environment step; beyond it the episode ends as `infra_timeout`."""
    episode_timeout_s: float = 3600.0
    """Time for one episode; whoever is at work when it ends is held responsible."""

    @field_validator("workers")
    @classmethod
    def _workers_are_of_a_cluster(cls, text: str) -> str:
        if text and isinstance(parse_workers(text), int):
            raise ValueError(f"episodes need no worker processes here: concurrency = {text}")
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Episodes to run from one initial state."""

    key: str
    seed: int
    size: int = 1
    task_id: str | None = None
    split: str = "train"
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(slots=True)
class Origin:
    """A freshly reset environment, of which the members of a group are forks."""

    env: TextEnv
    observation: tuple[Message, ...]
    info: Mapping[str, Any]
    fingerprint: str
    members_left: int

    @classmethod
    async def reset(
        cls,
        make_env: Callable[[], TextEnv],
        group: Group,
        executor: Executor,
        timeout_s: float,
        members: int,
    ) -> Origin:
        """Make and reset the environment of `group` in a thread, for so many of its members."""
        options = {"split": group.split}
        if group.task_id is not None:
            options["task_id"] = group.task_id

        def start() -> Origin:
            env = make_env()
            with closed_on_failure(env):
                observation, info = env.reset(seed=group.seed, options=options)
                check_messages(env, observation)
                return cls(env, observation, info, env.fingerprint(), members)

        work = executor.submit(start)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(work), timeout_s)
        except BaseException:
            when_late(work, lambda origin: origin.env.close())
            raise

    def member(self, group: Group, index: int) -> TextEnv:
        """An environment of its own for member `index`, at the initial state of the group.

        Raises:
            EnvironmentFailure: the fork starts from another state.
        """
        env = self.env.fork(seed=derive(group.seed, index))
        with closed_on_failure(env):
            found = env.fingerprint()
            if found != self.fingerprint:
                raise EnvironmentFailure(
                    f"a fork of {type(env).__name__} starts from another state: fingerprint "
                    f"{found}, its origin has {self.fingerprint}. Check get_state and set_state."
                )
        return env

    def leave(self) -> bool:
        """Count one member as done; True for the last one, which closes the origin."""
        self.members_left -= 1
        return self.members_left == 0


class Episode:
    """The mutable half of a Trajectory, while it is being played."""

    def __init__(
        self,
        *,
        group: Group,
        member: int,
        origin: asyncio.Task[Origin],
        agent: Agent,
        config: RolloutConfig,
        executor: Executor,
    ) -> None:
        self.key = f"{group.key}/{member}"
        self.group, self.member, self.agent, self.config = group, member, agent, config
        self._origin_task, self._executor = origin, executor
        self._origin: Origin | None = None
        self._env: TextEnv | None = None
        self._step_at_work: Future[Any] | None = None
        self.lost = False
        """Whether it ended because its worker died, so that it may be played again."""
        self._acting = False
        self._clock = asyncio.timeout(None)
        self._started = time.perf_counter()
        self._tape = Tape()

    async def run(self, on_cancel: Callable[[Trajectory], None]) -> Trajectory:
        """The trajectory, whatever happens; `on_cancel` gets it when the run is cancelled."""
        error = ""
        try:
            status = await self._play()
        except asyncio.CancelledError:
            on_cancel(self._end(EpisodeStatus.CANCELLED, ""))
            raise
        except Exception as failure:
            # The boundary: a part written by others broke. Its episode says so, others go on.
            status, error = self._status_of(failure), traceback.format_exc()
            self.lost = isinstance(failure, WorkerLost)
        return self._end(status, error)

    def _status_of(self, failure: Exception) -> EpisodeStatus:
        for kind, status in STATUS_OF_ERROR:
            if isinstance(failure, kind):
                return status
        if isinstance(failure, TimeoutError):
            return EpisodeStatus.AGENT_TIMEOUT if self._acting else EpisodeStatus.INFRA_TIMEOUT
        return EpisodeStatus.INFRA_ERROR if self._acting else EpisodeStatus.ENV_ERROR

    async def _play(self) -> EpisodeStatus:
        # Shielded: one member that is cancelled must not take the origin from the others.
        origin: Origin = await asyncio.shield(self._origin_task)
        self._origin = origin
        async with self._clock:
            env = self._env = await self._fork(origin)
            new, info = origin.observation, origin.info
            while True:
                anchor = str(info.get("anchor") or digest(new))
                seen, completion = new, await self._act(env, new)
                result = await self._step(env, completion.message)
                new, reward, terminated, truncated, info = checked_step(env, result)
                self._tape.add(seen, completion, anchor, reward, info)
                if terminated or truncated:
                    self._tape.closing = new
                    return EpisodeStatus.TERMINATED if terminated else EpisodeStatus.TRUNCATED
                self._tape.hear(new, info)

    async def _fork(self, origin: Origin) -> TextEnv:
        if self.group.size == 1:
            return origin.env
        self._allow(self.config.step_timeout_s)
        try:
            return await self._in_thread(lambda: origin.member(self.group, self.member))
        except BaseException:
            if self._step_at_work is not None:
                when_late(self._step_at_work, lambda env: env.close())
            raise

    async def _act(self, env: TextEnv, new: tuple[Message, ...]) -> Completion:
        context = Context(episode=self.key, tools=tuple(env.tools), turns=self._tape.turns, new=new)
        seed = derive(self.group.seed, self.member, len(self._tape.turns))
        self._acting = True
        self._allow(self.config.act_timeout_s)
        completion = await self.agent.act(context, sampling=self.group.sampling, seed=seed)
        check_completion(self.agent, completion)
        return completion

    async def _step(self, env: TextEnv, message: Message) -> Any:
        self._allow(self.config.step_timeout_s)
        self._acting = False
        astep = getattr(env, "astep", None)
        if astep is not None:
            return await astep(message)
        return await self._in_thread(lambda: env.step(message))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        future = self._step_at_work = self._executor.submit(work)
        return await asyncio.wrap_future(future)

    def _allow(self, limit_s: float) -> None:
        """So much time for what comes next, or what the episode has left.

        Raises:
            TimeoutError: whoever came before was out of time and went on all the same.
        """
        if self._clock.expired():
            raise TimeoutError("out of time; what was told to stop went on")
        left = self._started + self.config.episode_timeout_s - time.perf_counter()
        now = asyncio.get_running_loop().time()
        self._clock.reschedule(now + max(min(limit_s, left), 0.0))

    def _end(self, status: EpisodeStatus, error: str) -> Trajectory:
        env, origin = self._env, self._origin
        try:
            tools, privileged = told(env)
        except Exception:  # a stranger's property: it breaks this episode alone
            tools, privileged = (), Privileged()
            status, error = EpisodeStatus.ENV_ERROR, error or traceback.format_exc()
        task_id = self.group.task_id or ""
        trajectory = self._tape.end(
            status,
            env_id=env_id(env),
            task_id=task_id if origin is None else str(origin.info.get("task_id", task_id)),
            episode=self.key,
            seed=self.group.seed,
            group=self.group.key,
            tools=tools,
            success_at=None if env is None else env.success_at,
            privileged=privileged,
            fingerprint="" if origin is None else origin.fingerprint,
            error=error,
            seconds=time.perf_counter() - self._started,
        )
        self._close()
        return trajectory

    def _close(self) -> None:
        """Close what this episode used, off the event loop, and after a step that still hangs."""

        env, origin = self._env, self._origin
        if origin is None:
            return
        used = [] if env is None or env is origin.env else [env]
        if origin.leave():
            used.append(origin.env)

        def close(_: object = None) -> None:
            with ExitStack() as closing:  # one that fails to close keeps no other open
                for each in used:
                    closing.callback(each.close)

        if self._step_at_work is not None and self._step_at_work.running():
            self._step_at_work.add_done_callback(close)
        else:
            self._executor.submit(close)
