"""Images under a limit on disk space: pulled when they are missing, removed when others need room.

Only images that were pulled here are counted and removed; a second tag on each remembers them across
runs. Sizes are those that the daemon states, layers that images share counted in each, so the disk
holds less than they add up to.
"""

import hashlib
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from turngym.envs.sandbox.daemon import client, translated
from turngym.errors import InfraFailure

__all__ = ["Images"]

_MARK = "turngym-pulled/"


class Images:
    """Pulls, counts and removes images; shared by the workers of a run.

    A pull waits while the images in use leave no room for one as large as the largest so far. What
    the limit cannot rule out is one image that is larger than all before it: it is removed again when
    it alone exceeds the limit.

    Args:
        limit_bytes: what pulled images may take together.

    Example:
        >>> images = Images(50_000_000_000)
        >>> with images.use("swebench/sweb.eval.x86_64.x_1776_y-1:latest"):
        ...     ...
    """

    def __init__(self, limit_bytes: int, docker_client: Any = None) -> None:
        self.limit_bytes = limit_bytes
        self._client = docker_client or client()
        self._sizes: OrderedDict[str, int] = OrderedDict()
        """Mark to size, least recently used first."""
        self._users: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._pulls = threading.Lock()
        with translated("listing images"):
            for image in self._client.images.list():
                for tag in image.tags:
                    if tag.startswith(_MARK):
                        self._sizes[tag.partition(":")[0]] = int(image.attrs["Size"])

    @property
    def used_bytes(self) -> int:
        """What the pulled images take together."""
        return sum(self._sizes.values())

    @contextmanager
    def use(self, image: str) -> Iterator[None]:
        """Have `image` on this machine while the block runs.

        Raises:
            InfraFailure: it cannot be pulled, or is larger than the limit.
        """
        mark = _mark_of(image)
        with self._changed:
            self._users[mark] += 1
        try:
            with self._pulls:
                if not self._here(image):
                    self._make_room()
                    self._pull(image, mark)
            with self._changed:
                if mark in self._sizes:
                    self._sizes.move_to_end(mark)
            yield
        finally:
            with self._changed:
                self._users[mark] -= 1
                self._changed.notify_all()

    def _here(self, image: str) -> bool:
        import docker.errors

        with translated(f"looking up {image}"):
            try:
                self._client.images.get(image)
            except docker.errors.ImageNotFound:
                return False
        return True

    def _make_room(self) -> None:
        """Remove idle images, then wait for busy ones, until another may come."""
        with self._changed:
            while self._sizes:
                largest = max(self._sizes.values())
                if self.used_bytes + largest <= self.limit_bytes:
                    return
                if not self._remove_idle():
                    self._changed.wait()

    def _pull(self, image: str, mark: str) -> None:
        with translated(f"pulling {image}"):
            pulled = self._client.images.pull(image)
            pulled.tag(mark)
            size = int(pulled.attrs["Size"])
        with self._changed:
            self._sizes[mark] = size
            while self.used_bytes > self.limit_bytes and self._remove_idle():
                pass
            if size > self.limit_bytes:
                self._remove(mark)
                raise InfraFailure(
                    f"{image} takes {size / 1e9:.2f} GB, and the limit is "
                    f"{self.limit_bytes / 1e9:.2f} GB: raise it"
                )

    def _remove_idle(self) -> bool:
        """Remove the idle image that was not used for longest; False when all are busy."""
        idle = next((mark for mark in self._sizes if not self._users[mark]), None)
        if idle is not None:
            self._remove(idle)
        return idle is not None

    def _remove(self, mark: str) -> None:
        with translated(f"removing {mark}"):
            image = self._client.images.get(mark)
            for tag in image.tags:
                self._client.images.remove(tag)
        del self._sizes[mark]


def _mark_of(image: str) -> str:
    return _MARK + hashlib.sha256(image.encode()).hexdigest()[:16]
