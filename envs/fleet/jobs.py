"""One function over many items on a cluster: results as they come, lost ones done again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from turngym.envs.fleet.cluster import MOVES, RayWorkers, connect
from turngym.envs.fleet.fleet import release

__all__ = ["fan_out"]

T = TypeVar("T")
R = TypeVar("R")


def fan_out(
    workers: RayWorkers,
    work: Callable[[T], R],
    items: Iterable[T],
    lost: Callable[[T, str], R],
) -> Iterator[R]:
    """`work(item)` for each item, one result each, in the order in which they are ready.

    At most `workers.count` items are under way. An item whose worker dies is done again elsewhere.

    Args:
        workers: how many at a time, and where.
        work: runs on the workers; picklable.
        items: picklable.
        lost: the result of an item whose worker died `MOVES` + 1 times, and why it died.

    Raises:
        ConfigError, MissingExtraError: as `connect`.
        Exception: what `work` raised, with its traceback.
    """
    ray = connect(workers.address)
    release(ray)
    task = ray.remote(work).options(num_cpus=1, max_retries=MOVES, scheduling_strategy="SPREAD")
    waiting: dict[Any, T] = {}
    left = iter(items)
    try:
        while True:
            for item in islice(left, workers.count - len(waiting)):
                waiting[task.remote(item)] = item
            if not waiting:
                return
            (done,), _ = ray.wait(list(waiting), num_returns=1)
            item = waiting.pop(done)
            try:
                result: R = ray.get(done)
            except ray.exceptions.RayTaskError:
                raise
            except ray.exceptions.RayError as error:
                result = lost(item, str(error).strip())
            yield result
    finally:
        for ref in waiting:
            ray.cancel(ref, force=True)
