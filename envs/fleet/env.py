"""The near side: an environment that a Ray worker holds, played like one of this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from gymnasium.envs.registration import EnvSpec

from turngym.envs.env import EnvState, Observation, StepResult, TextEnv
from turngym.envs.fleet.cluster import RayWorkers
from turngym.envs.fleet.fleet import Fleet, Worker, fleet
from turngym.envs.fleet.host import Make, Reply, Tell
from turngym.errors import EnvironmentFailure, UsageError, WorkerLost
from turngym.types import Message, Privileged

__all__ = ["FleetEnv", "environments"]


def environments(
    workers: RayWorkers, make: Make, hear: Tell = lambda item: None
) -> Callable[[], TextEnv]:
    """What makes environments on `workers`, for a rollout.

    Args:
        workers: where; they are started with the first call for them.
        make: runs on a worker, where what it needs (packages, files, keys) must be.
        hear: gets, here, what the environment hands to the `tell` that `make` gets.

    Raises:
        ConfigError: no cluster, no worker that starts, or none that can load `make`.
        MissingExtraError: ray is not installed.
    """
    crew = fleet(workers)
    sent = crew.put(make)
    return lambda: FleetEnv(crew, sent, hear)


class FleetEnv(TextEnv):
    """Reset, steps and forks happen on a worker; a fork stays on that of its origin.

    Any call raises WorkerLost when the worker has died: this environment is over then, unless it is
    reset, which begins on another worker.
    """

    success_at = 1.0

    def __init__(self, crew: Fleet, make: Any, hear: Tell) -> None:
        self._crew, self._make, self._hear = crew, make, hear
        self._key = -1
        self._worker: Worker | None = None
        self._privileged = Privileged()
        self._fingerprint: str | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode on the least busy worker."""
        self.close()
        self._key, self._worker = self._crew.key(), self._crew.board()
        asked = self._worker.actor.reset.remote(self._key, self._make, seed, options or {})
        observation, info, self._fingerprint = self._got(asked)
        return observation, info

    async def astep(self, action: Message) -> StepResult:
        """One step there; nothing blocks here."""
        worker = self._at()
        self._fingerprint = None
        asked = worker.actor.step.remote(self._key, action)
        try:
            reply = await asked
        except self._crew.ray.exceptions.RayError as error:
            raise self._broken(error) from error
        result: StepResult = self._read(reply)
        return result

    def fork(self, *, seed: int | None = None) -> Self:
        """A copy on the same worker."""
        worker = self._at()
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, _key=self._crew.key(), _inside=False)
        self._crew.join(worker)
        try:
            twin._fingerprint = twin._got(worker.actor.fork.remote(self._key, twin._key, seed))
        except BaseException:
            twin.close()
            raise
        return twin

    def fingerprint(self) -> str:
        """Of the environment on the worker."""
        found = self._fingerprint or self._got(self._at().actor.fingerprint.remote(self._key))
        self._fingerprint = str(found)
        return self._fingerprint

    @property
    def privileged(self) -> Privileged:
        """As the worker last said."""
        return self._privileged

    def close(self) -> None:
        """Have it closed there; waits for nothing."""
        if self._worker is not None:
            self._worker.actor.close.remote(self._key)
            self._crew.leave(self._worker)
            self._worker = None

    def get_state(self) -> EnvState:
        """Not here.

        Raises:
            UsageError: always.
        """
        raise UsageError("the state of this environment is on a Ray worker: fork() it instead")

    def _at(self) -> Worker:
        if self._worker is None:
            raise UsageError("this environment is closed: call reset() first")
        return self._worker

    def _got(self, asked: Any) -> Any:
        try:
            reply = self._crew.ray.get(asked)
        except self._crew.ray.exceptions.RayError as error:
            raise self._broken(error) from error
        return self._read(reply)

    def _read(self, reply: Reply) -> Any:
        for item in reply.heard:
            self._hear(item)
        if reply.told is not None:
            self.spec = EnvSpec(id=reply.told.env_id)
            self.tools, self.success_at = reply.told.tools, reply.told.success_at
            self._privileged = reply.told.privileged
        if reply.failure is not None:
            raise reply.failure.kind(reply.failure.text)
        return reply.value

    def _broken(self, error: Exception) -> Exception:
        reason = str(error).strip().partition("\n")[0]
        if isinstance(error, self._crew.ray.exceptions.RayTaskError):
            # Our side catches what environments raise; left is what cannot travel.
            return EnvironmentFailure(f"what the environment gave cannot be sent here: {error}")
        if self._worker is not None:
            self._crew.lost(self._worker)
        return WorkerLost(f"a Ray worker is gone: {reason}")
