"""Images under a byte limit, against a daemon that counts: nothing here needs Docker."""

import threading
from types import SimpleNamespace

import pytest

docker_errors = pytest.importorskip("docker.errors")

from turngym.envs.sandbox.images import Images  # noqa: E402
from turngym.errors import InfraFailure  # noqa: E402


class Daemon:
    """A registry of sizes and a disk; remembers the most that ever lay on it."""

    def __init__(self, **sizes):
        self.registry, self.disk, self.peak, self.pulls = sizes, {}, 0, []
        self.images = self

    def list(self):
        return [self.get(name) for name in {id(i): n for n, i in self.disk.items()}.values()]

    def get(self, name):
        if name not in self.disk:
            raise docker_errors.ImageNotFound(name)
        return self.disk[name]

    def pull(self, name):
        if name not in self.registry:
            raise docker_errors.ImageNotFound(name)
        self.pulls.append(name)
        image = SimpleNamespace(attrs={"Size": self.registry[name]}, tags=[name])
        image.tag = lambda mark: (image.tags.append(f"{mark}:latest"), self._put(mark, image))
        self._put(name, image)
        return image

    def _put(self, name, image):
        self.disk[name] = image
        self.disk[f"{name}:latest"] = image
        self.peak = max(self.peak, self.used)

    @property
    def used(self):
        return sum({id(i): i.attrs["Size"] for i in self.disk.values()}.values())

    def remove(self, name):
        name = name.removesuffix(":latest")
        image = self.disk.pop(name)
        self.disk.pop(f"{name}:latest", None)
        image.tags = [tag for tag in image.tags if tag.removesuffix(":latest") != name]


def use(images, *names):
    for name in names:
        with images.use(name):
            assert images._here(name)


def test_the_least_recently_used_goes_first():
    daemon = Daemon(a=4, b=4, c=4)
    images = Images(9, daemon)
    use(images, "a", "b", "a", "c")
    assert daemon.pulls == ["a", "b", "c"] and "b" not in daemon.disk
    assert "a" in daemon.disk and "c" in daemon.disk
    assert images.used_bytes == daemon.used == 8 and daemon.peak <= 9


def test_images_that_were_there_before_are_never_removed():
    daemon = Daemon(own=100, a=4, b=4)
    daemon._put("own", SimpleNamespace(attrs={"Size": 100}, tags=["own:latest"]))
    images = Images(5, daemon)
    use(images, "own", "a", "b")
    assert "own" in daemon.disk and daemon.pulls == ["a", "b"] and images.used_bytes == 4


def test_the_next_run_knows_what_the_last_one_pulled():
    daemon = Daemon(a=4, b=4)
    use(Images(9, daemon), "a")
    later = Images(5, daemon)
    assert later.used_bytes == 4
    use(later, "b")
    assert "a" not in daemon.disk and later.used_bytes == 4


def test_an_image_in_use_stays_and_others_wait_for_its_room():
    daemon = Daemon(a=4, b=4)
    images = Images(5, daemon)
    with images.use("a"):
        other = threading.Thread(target=use, args=(images, "b"))
        other.start()
        other.join(0.2)
        assert other.is_alive() and daemon.pulls == ["a"] and "a" in daemon.disk
    other.join(5)
    assert not other.is_alive() and daemon.pulls == ["a", "b"] and daemon.peak <= 5


def test_an_image_beyond_the_limit_and_one_that_cannot_be_pulled_are_infra_failures():
    daemon = Daemon(huge=10)
    images = Images(5, daemon)
    with pytest.raises(InfraFailure, match="raise it"):
        use(images, "huge")
    assert daemon.disk == {} and images.used_bytes == 0
    with pytest.raises(InfraFailure, match="no such image"):
        use(images, "missing")


def test_many_workers_keep_the_limit():
    daemon = Daemon(**{f"i{n}": 3 for n in range(12)})
    images = Images(7, daemon)
    workers = [
        threading.Thread(target=use, args=(images, *(f"i{(n + k) % 12}" for k in range(6))))
        for n in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(10)
    assert not any(worker.is_alive() for worker in workers) and daemon.peak <= 7
