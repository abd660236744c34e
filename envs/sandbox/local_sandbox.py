"""A sandbox that is none: commands run on this machine, in a temporary folder. For tests only."""

import io
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

from turngym.envs.sandbox.archive import Change, Snapshot, changes
from turngym.envs.sandbox.shell import HeadTail
from turngym.envs.sandbox.spec import PINNED, ExecResult, SandboxSpec
from turngym.errors import UsageError

__all__ = ["LocalSandbox"]


class LocalSandbox:
    """Runs commands unprotected as the current user: never give it code that you do not trust.

    Absolute paths under `spec.workdir` are mapped to a temporary folder in read and write only;
    commands see the real machine.

    Args:
        i_know_it_is_not_isolated: must be True.
    """

    def __init__(
        self,
        spec: SandboxSpec,
        seed: Snapshot | None = None,
        *,
        i_know_it_is_not_isolated: bool = False,
    ) -> None:
        if not i_know_it_is_not_isolated:
            raise UsageError(
                "LocalSandbox isolates nothing and is for tests only; use DockerSandbox, or pass "
                "i_know_it_is_not_isolated=True"
            )
        self.spec = spec
        self.root = Path(tempfile.mkdtemp(prefix="turngym-local-"))
        if seed is not None:
            self.restore(seed)

    def exec(
        self,
        command: str,
        *,
        timeout_s: float | None = None,
        output_bytes: int | None = None,
        cwd: str | None = None,
    ) -> ExecResult:
        """See `Sandbox.exec`."""
        limits, began = self.spec.limits, time.monotonic()
        process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-c", command],
            cwd=self._path(cwd or self.spec.workdir),
            env={"PATH": os.environ.get("PATH", ""), **PINNED, **self.spec.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        timed_out = False
        try:
            output, _ = process.communicate(
                timeout=limits.command_s if timeout_s is None else timeout_s
            )
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            timed_out = True
        kept = HeadTail(limits.output_bytes if output_bytes is None else output_bytes)
        kept.feed(output)
        text, dropped = kept.result()
        return ExecResult(
            exit_code=137 if process.returncode < 0 else process.returncode,
            output=text,
            dropped=dropped,
            timed_out=timed_out,
            seconds=time.monotonic() - began,
        )

    def read(self, path: str) -> bytes:
        """See `Sandbox.read`."""
        return self._path(path).read_bytes()

    def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """See `Sandbox.write`."""
        file = self._path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        file.chmod(mode)

    def snapshot(self) -> Snapshot:
        """See `Sandbox.snapshot`."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as bundle:
            bundle.add(self.root, arcname=".")
        return Snapshot(image=self.spec.image, workdir=self.spec.workdir, archive=buffer.getvalue())

    def restore(self, snapshot: Snapshot) -> None:
        """See `Sandbox.restore`."""
        shutil.rmtree(self.root)
        self.root.mkdir()
        with tarfile.open(fileobj=io.BytesIO(snapshot.archive)) as bundle:
            bundle.extractall(self.root, filter="data")

    def diff(self, since: Snapshot) -> tuple[Change, ...]:
        """See `Sandbox.diff`."""
        return changes(since, self.snapshot())

    def close(self) -> None:
        """See `Sandbox.close`."""
        shutil.rmtree(self.root, ignore_errors=True)

    def _path(self, path: str) -> Path:
        inside = os.path.relpath(os.path.join(self.spec.workdir, path), self.spec.workdir)
        if inside.startswith(".."):
            raise FileNotFoundError(f"{path} lies outside {self.spec.workdir}")
        return self.root / inside
