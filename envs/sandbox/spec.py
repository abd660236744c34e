"""What a sandbox is: settings, results, and the protocol that every backend meets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Protocol

from turngym.envs.sandbox.archive import Change, Snapshot

__all__ = ["PINNED", "ExecResult", "Limits", "Mount", "Sandbox", "SandboxSpec"]

PINNED: Mapping[str, str] = MappingProxyType(
    {
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "HOME": "/tmp",
    }
)
"""Environment of every command, so that two runs see the same time zone, hashes and locale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one sandbox may use. The output and time limits hold for each command."""

    memory_mb: int = 1024
    """Files on tmpfs count too."""
    cpus: float = 1.0
    pids: int = 256
    disk_mb: int = 256
    """Of the working directory, and again of /tmp."""
    output_bytes: int = 1_000_000
    """Beyond this the middle of a command's output is dropped."""
    command_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A host path that the sandbox sees read-only."""

    source: Path
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """How to start a sandbox."""

    image: str
    workdir: str = "/testbed"
    user: str = "1000:1000"
    """uid:gid of every command; "0:0" for images whose files belong to root."""
    environment: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    mounts: tuple[Mount, ...] = ()
    disk: Literal["tmpfs", "quota"] = "tmpfs"
    """tmpfs: root read-only, working directory and /tmp on tmpfs of `disk_mb`. quota: root writable,
    what is written is measured every second and the sandbox is killed beyond `disk_mb`; for images
    whose working directory is too large for memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecResult:
    """What one command did."""

    exit_code: int
    """137 when it was killed or took its shell down."""
    output: bytes
    """Standard output and error, interleaved; the middle is missing when `dropped` > 0."""
    dropped: int = 0
    """Bytes left out of the middle of `output`."""
    timed_out: bool = False
    """The command ran out of time, and every process of the sandbox was killed."""
    died: bool = False
    """The sandbox itself is gone, by the command's doing or by its limits."""
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """The output as text; bytes that are no UTF-8 become U+FFFD."""
        return self.output.decode("utf-8", "replace")


class Sandbox(Protocol):
    """A place to run commands in. Commands share files but no shell state and no standard input."""

    spec: SandboxSpec

    def exec(
        self,
        command: str,
        *,
        timeout_s: float | None = None,
        output_bytes: int | None = None,
        cwd: str | None = None,
    ) -> ExecResult:
        """Run `command` in a fresh subshell of bash; never raises for what the command does.

        Raises:
            InfraFailure: the sandbox cannot be reached.
        """
        ...

    def read(self, path: str) -> bytes:
        """A file's content.

        Raises:
            FileNotFoundError: there is no such regular file.
        """
        ...

    def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Write a file, parents included.

        Raises:
            OSError: it cannot be written: no space, or a path outside the writable folders.
        """
        ...

    def snapshot(self) -> Snapshot:
        """The working directory as it is; processes are not captured."""
        ...

    def restore(self, snapshot: Snapshot) -> None:
        """Kill all processes and put the working directory back to `snapshot`."""
        ...

    def diff(self, since: Snapshot) -> tuple[Change, ...]:
        """Paths of the working directory that differ from `since`, sorted."""
        ...

    def close(self) -> None:
        """Remove everything; closing twice is fine."""
        ...
