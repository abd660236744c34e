"""Tasks from procedural bugs: mutate, run the tests, keep what breaks some of them and not all.

The tests that count pass on the healthy package under both graders, twice. A kept bug fails at least
one of them and leaves at least one, and both graders agree on which: its row validates by
construction. Test files that show the bug are taken out of the repository and come back as
`test_patch`, so that an agent cannot read the answer from them.
"""

import hashlib
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from turngym.envs.sandbox import Limits, SandboxSpec, Snapshot
from turngym.envs.sandbox.archive import pack
from turngym.envs.sandbox.docker_sandbox import DockerSandbox
from turngym.envs.swe.bundled.seed import IMAGE
from turngym.envs.swe.commands import script_for
from turngym.envs.swe.grading import Expected
from turngym.envs.swe.parsers import PARSERS, Status, region
from turngym.envs.swe.sealed import is_test_support, run_sealed
from turngym.envs.swe.synth.package import Package
from turngym.envs.swe.synth.transforms import Mutation, mutate, mutations
from turngym.envs.swe.synth.write import row_of
from turngym.envs.swe.tasks import Task
from turngym.errors import DataError

__all__ = ["Found", "SynthSettings", "Synthesis", "synthesise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthSettings:
    """How bugs are made."""

    count: int = 20
    """Tasks wanted."""
    tries: int = 200
    """Mutations run at most."""
    seed: int = 0
    image: str = IMAGE
    """Must hold Python with pytest and what the package depends on, but not the package."""
    workers: int = 1
    timeout_s: float = 300.0
    """For all tests of the healthy package; a mutation gets ten seconds more than they took, doubled."""
    transforms: tuple[str, ...] | None = None
    """Names of the transforms to use; None takes all."""
    limits: Limits = Limits(memory_mb=2048, disk_mb=256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What became of one mutation."""

    path: str
    mutation: Mutation
    outcome: str
    """`kept`, or why not: `survived`, `broke everything`, `endless`, `graders differ`."""
    row: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthesis:
    """All mutations that were run, in order."""

    stable: int
    """Tests that pass on the healthy package under both graders."""
    found: tuple[Found, ...]

    @property
    def rows(self) -> tuple[Mapping[str, Any], ...]:
        """Task rows in SWE-bench's form, with the repository inline."""
        return tuple(item.row for item in self.found if item.row is not None)

    @property
    def outcomes(self) -> Mapping[str, int]:
        """How many mutations ended how."""
        return Counter(item.outcome for item in self.found)


def synthesise(
    package: Package,
    settings: SynthSettings | None = None,
    progress: Callable[[Found], None] = lambda found: None,
) -> Synthesis:
    """Tasks from `package`; the same package, settings and image give the same tasks.

    Raises:
        DataError: no test passes on the healthy package, so nothing could show a bug.
        InfraFailure: a sandbox broke.
    """
    settings = settings or SynthSettings()
    with ExitStack() as stack:
        lab = _Lab(package, settings, stack)
        stable, seconds = lab.stable()
        limit_s = 2 * (seconds + 10)

        def judged(place: tuple[str, Mutation]) -> Found:
            return lab.judge(place[0], place[1], stable, limit_s)

        found: list[Found] = []
        kept = 0
        places = _places(package, settings)
        with ThreadPoolExecutor(max_workers=settings.workers) as pool:
            # In waves, so that what is kept does not depend on which worker is quicker.
            for start in range(0, len(places), settings.workers):
                wave = places[start : start + settings.workers]
                for item in pool.map(judged, wave):
                    if kept < settings.count:
                        found.append(item)
                        kept += item.row is not None
                        progress(item)
                if kept >= settings.count:
                    break
    return Synthesis(stable=len(stable), found=tuple(found))


def _places(package: Package, settings: SynthSettings) -> list[tuple[str, Mutation]]:
    """Mutations to run: transforms take turns, each over its places in random order."""
    chance = random.Random(settings.seed)
    by_transform: dict[str, list[tuple[str, Mutation]]] = {}
    for path in package.code:
        for mutation in mutations(package.files[path], settings.transforms):
            by_transform.setdefault(mutation.transform, []).append((path, mutation))
    for name in sorted(by_transform):
        chance.shuffle(by_transform[name])
    order = sorted(by_transform)
    chance.shuffle(order)
    places = list(_in_turn([by_transform[name] for name in order]))
    return places[: settings.tries]


def _in_turn(lists: list[list[tuple[str, Mutation]]]) -> Iterator[tuple[str, Mutation]]:
    for place in range(max(map(len, lists), default=0)):
        yield from (items[place] for items in lists if place < len(items))


class _Lab:
    """Warm sandboxes, one per thread, in which versions of the package are tested."""

    def __init__(self, package: Package, settings: SynthSettings, stack: ExitStack) -> None:
        self.package, self.settings, self._stack = package, settings, stack
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._task = Task(
            instance_id=f"synth__{package.name}",
            repo=f"synth/{package.name}",
            image=settings.image,
            test_command=package.test_command,
            test_files=package.tests,
            expected=Expected(fail_to_pass=()),
        )
        support = {p: text.encode() for p, text in package.files.items() if is_test_support(p)}
        self._support: Mapping[str, bytes] = support

    def stable(self) -> tuple[frozenset[str], float]:
        """Ids that pass in two runs of each grader, and how long one run took at most."""
        stable: frozenset[str] | None = None
        longest = 0.0
        for _ in range(2):
            logged, seconds = self._log(self.package.files, self.settings.timeout_s)
            passed = frozenset(t for t, status in logged.items() if status is Status.PASSED)
            if not passed:
                raise DataError(
                    f"no test of {self.package.name} passes in {self.settings.image}; build an image "
                    "with what it needs from docker/Dockerfile.swe"
                )
            sealed, suspects = self._sealed(self.package.files, passed, self.settings.timeout_s)
            passed = frozenset(
                test
                for test in passed
                if sealed.get(test) is Status.PASSED and test.split("::")[0] not in suspects
            )
            stable = passed if stable is None else stable & passed
            longest = max(longest, seconds)
        if not stable:
            raise DataError(f"no test of {self.package.name} passes under both graders")
        return stable, longest

    def judge(
        self, path: str, mutation: Mutation, stable: frozenset[str], timeout_s: float
    ) -> Found:
        """Run one mutation under both graders."""
        faulty = mutate(self.package.files[path], mutation)
        files = {**self.package.files, path: faulty}
        found = Found(path=path, mutation=mutation, outcome="kept")
        logged, seconds = self._log(files, timeout_s)
        if seconds >= timeout_s:
            return replace(found, outcome="endless")
        broken = frozenset(t for t in stable if logged.get(t) is not Status.PASSED)
        if not broken or broken == stable:
            return replace(found, outcome="broke everything" if broken else "survived")
        sealed, _ = self._sealed(files, stable, timeout_s)
        if broken != frozenset(t for t in stable if sealed.get(t) is not Status.PASSED):
            return replace(found, outcome="graders differ")
        digest = hashlib.sha256(f"{path}\0{faulty}".encode()).hexdigest()[:8]
        row = row_of(
            self.package,
            replace(self._task, instance_id=f"{self._task.instance_id}-{digest}"),
            path=path,
            faulty=faulty,
            broken=tuple(sorted(broken)),
            kept=tuple(sorted(stable - broken)),
        )
        note = {"transform": mutation.transform, "path": path, "function": mutation.function}
        return replace(found, row={**row, "synth": json.dumps(note)})

    def _log(
        self, files: Mapping[str, str], timeout_s: float
    ) -> tuple[Mapping[str, Status], float]:
        box = self._box(files)
        ran = box.exec_as(
            ["bash", "-c", script_for(self._task)],
            box.spec.user,
            timeout_s,
        )
        return PARSERS["pytest"](region(ran.text)), timeout_s if ran.timed_out else ran.seconds

    def _sealed(
        self, files: Mapping[str, str], wanted: frozenset[str], timeout_s: float
    ) -> tuple[Mapping[str, Status], frozenset[str]]:
        """Results of the sealed run, and the test modules whose canaries misbehave."""
        expected = Expected(fail_to_pass=tuple(sorted(wanted)))
        task = replace(self._task, expected=expected)
        result = run_sealed(self._box(files), task, self._support, timeout_s)
        suspects = frozenset(m for m in self.package.tests if any(m in e for e in result.evidence))
        return result.results, suspects

    def _box(self, files: Mapping[str, str]) -> DockerSandbox:
        """This thread's sandbox, holding `files`."""
        archive = pack({path: text.encode() for path, text in files.items()})
        tree = Snapshot(image=self.settings.image, workdir=self._task.workdir, archive=archive)
        box: DockerSandbox | None = getattr(self._mine, "box", None)
        if box is not None and box.alive:
            box.restore(tree)
            return box
        limits = replace(self.settings.limits, output_bytes=20_000_000)
        box = DockerSandbox(SandboxSpec(image=self.settings.image, limits=limits), tree)
        with self._lock:
            self._stack.enter_context(box)
        self._mine.box = box
        return box
