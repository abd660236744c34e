"""The workers of a cluster: which of them answer, and how many environments each one holds."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass
from pickle import PicklingError
from typing import Any

from turngym.envs.fleet.cluster import RayWorkers, connect
from turngym.envs.fleet.host import Host, Make
from turngym.errors import ConfigError, InfraFailure

__all__ = ["Fleet", "Worker", "fleet", "last_line", "release"]

START_S = 60.0
"""Until then all workers are waited for; afterwards those that are up begin."""
PATIENCE_S = 300.0
"""How long an episode waits while no worker answers."""


@dataclass(slots=True, eq=False)
class Worker:
    """A process of the cluster, which Ray starts again elsewhere when it dies."""

    actor: Any
    ready: Any
    """The answer to a ping that is not there yet; None: it answers."""
    load: int = 0
    """Environments that it holds."""


class Fleet:
    """Workers of one cluster; they end with this process."""

    def __init__(self, ray: Any) -> None:
        self.ray = ray
        self._start = self.ray.remote(Host).options(
            num_cpus=1, max_restarts=-1, max_concurrency=10_000, scheduling_strategy="SPREAD"
        )
        self._lock = threading.Lock()
        self._keys = itertools.count()
        self._workers: list[Worker] = []
        self._why = ""

    def grow(self, count: int) -> None:
        """Have `count` workers, if there are fewer, and wait until they are up.

        Raises:
            ConfigError: not one comes up.
        """
        with self._lock:
            if len(self._workers) >= count:
                return
            actors = [self._start.remote() for _ in range(count - len(self._workers))]
            self._workers += [Worker(actor=actor, ready=actor.ping.remote()) for actor in actors]
        self._wait(count, START_S)
        with self._lock:
            if self._up():
                return
        cpus = self.ray.cluster_resources().get("CPU", 0)
        raise ConfigError(
            f"none of {count} Ray workers came up in {START_S:g} s. Each needs turngym on its node and "
            f"one CPU; the cluster has {cpus:g}, those in use included. {self._why}".rstrip()
        )

    def put(self, make: Make) -> Any:
        """`make` for the workers, all of which can load it.

        Raises:
            ConfigError: it cannot be sent, or not be loaded there.
        """
        try:
            sent = self.ray.put(make)
        except (TypeError, PicklingError) as error:
            raise ConfigError(
                f"the environment cannot be sent to Ray workers: {str(error).partition(chr(10))[0]}. "
                "What makes it must be picklable: settings and paths, no open files, clients or locks"
            ) from error
        with self._lock:
            tries = [worker.actor.ping.remote(sent) for worker in self._up()]
        for tried in tries:
            try:
                self.ray.get(tried)
            except self.ray.exceptions.RayTaskError as error:
                raise ConfigError(
                    f"a Ray worker cannot load what makes the environment: {last_line(error)}. Install "
                    "its package on every node, or send it along with a runtime_env (docs/ray.md)"
                ) from error
            except self.ray.exceptions.RayError:
                continue  # a worker that dies now is found out when it is needed
        return sent

    def release(self) -> None:
        """Give the CPUs of idle workers back; they start again when they are wanted."""
        with self._lock:
            idle = [worker for worker in self._workers if worker.load == 0]
            self._workers = [worker for worker in self._workers if worker.load]
            for worker in idle:
                self.ray.kill(worker.actor)

    def key(self) -> int:
        """A name for an environment that no other one has."""
        return next(self._keys)

    def board(self) -> Worker:
        """The worker with the fewest environments, and one more now.

        Raises:
            InfraFailure: none answers for `PATIENCE_S`.
        """
        until = time.monotonic() + PATIENCE_S
        while True:
            with self._lock:
                if up := self._up():
                    worker = min(up, key=lambda each: each.load)
                    worker.load += 1
                    return worker
            if time.monotonic() > until:
                raise InfraFailure(
                    f"none of {len(self._workers)} Ray workers answers. {self._why}".rstrip()
                )
            self._wait(1, 1.0)

    def join(self, worker: Worker) -> None:
        """One environment more on the same worker."""
        with self._lock:
            worker.load += 1

    def leave(self, worker: Worker) -> None:
        """One environment less."""
        with self._lock:
            worker.load -= 1

    def lost(self, worker: Worker) -> None:
        """Send nobody there until it answers again."""
        with self._lock:
            if worker.ready is None:
                worker.ready = worker.actor.ping.remote()

    def _wait(self, count: int, timeout_s: float) -> None:
        pings = [worker.ready for worker in self._workers if worker.ready is not None]
        if pings:
            self.ray.wait(pings, num_returns=min(count, len(pings)), timeout=timeout_s)

    def _up(self) -> list[Worker]:
        """Those that answer; asks those again whose ping was lost."""
        for worker in self._workers:
            if worker.ready is None or not self.ray.wait([worker.ready], timeout=0)[0]:
                continue
            try:
                self.ray.get(worker.ready)
                worker.ready = None
            except self.ray.exceptions.ActorDiedError as error:  # for good: it could not start
                self._why = last_line(error)
                worker.actor = self._start.remote()
                worker.ready = worker.actor.ping.remote()
            except self.ray.exceptions.RayError:
                worker.ready = worker.actor.ping.remote()
        return [worker for worker in self._workers if worker.ready is None]


def last_line(error: Exception) -> str:
    """What a traceback of Ray ends with: the cause."""
    return str(error).strip().rpartition("\n")[2].strip()


_fleets: dict[tuple[str, str], Fleet] = {}
_lock = threading.Lock()


def fleet(workers: RayWorkers) -> Fleet:
    """The fleet of this process on that cluster, with at least so many workers.

    Raises:
        ConfigError: no cluster, or no worker comes up.
        MissingExtraError: ray is not installed.
    """
    with _lock:
        ray = connect(workers.address)
        crew = _fleets.setdefault(_connection(ray), Fleet(ray))
        crew.grow(workers.count)
        return crew


def release(ray: Any) -> None:
    """Have idle workers of this process make room on the cluster for its other work."""
    with _lock:
        if crew := _fleets.get(_connection(ray)):
            crew.release()


def _connection(ray: Any) -> tuple[str, str]:
    here = ray.get_runtime_context()
    return here.gcs_address, here.get_job_id()
