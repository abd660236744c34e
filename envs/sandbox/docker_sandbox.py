"""A sandbox in a Docker container.

The container's first process is a root bash on a connection that this process holds: the warden.
When the connection closes, however this process ends, the warden's input ends, and the container
goes with it. The warden kills by a builtin, so it works against a fork bomb too. Commands run as
`spec.user` in a second bash.
"""

import contextlib
import functools
import os
import shlex
import socket
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from turngym.envs.sandbox.archive import Change, Snapshot, changes, unrooted
from turngym.envs.sandbox.daemon import (
    LABEL,
    client,
    image_id,
    is_podman,
    owner,
    remove,
    translated,
)
from turngym.envs.sandbox.shell import Reply, Shell, drain
from turngym.envs.sandbox.spec import PINNED, ExecResult, SandboxSpec
from turngym.errors import InfraFailure, UsageError

__all__ = ["DockerSandbox", "image_seed"]

_BASH = ["bash", "--noprofile", "--norc"]
_ARCHIVE_LIMIT = 4_000_000_000


class DockerSandbox:
    """An isolated container, met through `turngym.envs.sandbox.Sandbox`.

    No network; all capabilities dropped but the warden's KILL; no new privileges; memory, processor,
    process and disk limits; root file system read-only (`disk="tmpfs"`).

    Args:
        seed: what the working directory holds; None takes the image's own.

    Raises:
        InfraFailure: no daemon, no image, or the container does not start.

    Example:
        >>> with DockerSandbox(SandboxSpec(image="turngym/swe-base:bookworm")) as box:
        ...     box.exec("echo hi").text
    """

    def __init__(self, spec: SandboxSpec, seed: Snapshot | None = None) -> None:
        self.spec = spec
        self._api = client().api
        self._container = ""
        self._warden: Shell | None = None
        self._shell: Shell | None = None
        self._shell_pid = 0
        self._opening = threading.Lock()
        self._closed = False
        self._gone = False
        if seed is None and spec.disk == "tmpfs":
            seed = image_seed(spec)
        try:
            self._start()
            if seed is not None:
                self._unpack(seed)
            if spec.disk == "quota":
                threading.Thread(target=self._watch_disk, daemon=True).start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "DockerSandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether the container still runs."""
        with translated("asking for the sandbox's state"):
            return any(self._api.containers(filters={"id": self._container}))

    def exec(
        self,
        command: str,
        *,
        timeout_s: float | None = None,
        output_bytes: int | None = None,
        cwd: str | None = None,
    ) -> ExecResult:
        """See `Sandbox.exec`."""
        if "\0" in command:
            return ExecResult(exit_code=2, output=b"a command cannot hold a NUL byte\n")
        limits = self.spec.limits
        seconds = limits.command_s if timeout_s is None else timeout_s
        limit = limits.output_bytes if output_bytes is None else output_bytes
        began = time.monotonic()
        shell = self._ready_shell()
        if shell is None:
            return ExecResult(exit_code=137, output=b"", died=True)
        reply = shell.run(command, cwd or self.spec.workdir, seconds, limit)
        if reply.exit_code is None:
            self._gone = not self.kill_all()
        return ExecResult(
            exit_code=137 if reply.exit_code is None else reply.exit_code,
            output=reply.output,
            dropped=reply.dropped,
            timed_out=reply.exit_code is None and not reply.closed,
            died=self._gone,
            seconds=time.monotonic() - began,
        )

    def kill_all(self) -> bool:
        """Kill every process but the warden; False when the sandbox itself is gone."""
        if self._shell is not None:
            self._shell.close()
            self._shell = None
        assert self._warden is not None
        return self._warden.builtin("kill -9 -1; kill -9 -1; true").exit_code == 0

    def read(self, path: str) -> bytes:
        """See `Sandbox.read`."""
        quoted = shlex.quote(path)
        result = self.exec(f"test -f {quoted} && cat -- {quoted}", output_bytes=_ARCHIVE_LIMIT)
        if result.exit_code:
            raise FileNotFoundError(f"no regular file {path} in the sandbox")
        return result.output

    def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """See `Sandbox.write`."""
        quoted = shlex.quote(os.path.join(self.spec.workdir, path))
        command = (
            f'mkdir -p -- "$(dirname -- {quoted})" && cat >{quoted} && chmod {mode:o} {quoted}'
        )
        reply = self._feed(command, data)
        if reply.exit_code:
            raise OSError(f"cannot write {path}: {reply.output.decode('utf-8', 'replace').strip()}")

    def snapshot(self) -> Snapshot:
        """See `Sandbox.snapshot`."""
        result = self.exec(
            "tar --sort=name --numeric-owner -c . 2>/dev/null",
            timeout_s=300,
            output_bytes=_ARCHIVE_LIMIT,
        )
        if result.exit_code not in (0, 1):  # 1: a file changed while it was read
            raise InfraFailure(f"the snapshot of {self.spec.workdir} failed: {result.exit_code}")
        return Snapshot(image=self.spec.image, workdir=self.spec.workdir, archive=result.output)

    def restore(self, snapshot: Snapshot) -> None:
        """See `Sandbox.restore`."""
        assert self._warden is not None
        running = self._warden.builtin("echo /proc/[0-9]*").output.split()
        if set(running) - {b"/proc/1", f"/proc/{self._shell_pid}".encode()}:
            self.kill_all()
        self._unpack(snapshot)

    def diff(self, since: Snapshot) -> tuple[Change, ...]:
        """See `Sandbox.diff`."""
        return changes(since, self.snapshot())

    def fork(self) -> "DockerSandbox":
        """A second sandbox with the same files; processes are not captured."""
        return DockerSandbox(self.spec, self.snapshot())

    def provide(self, folder: str, archive: bytes) -> None:
        """Unpack a tar archive in `folder` as root: commands can read it and cannot change it.

        Only folders on tmpfs, such as those under /run, can take it.
        """
        assert self._warden is not None
        quoted = shlex.quote(folder)
        reply = self._warden.feed(
            f"rm -rf {quoted} && mkdir -p {quoted} && tar -x --no-same-owner -C {quoted} -f -",
            archive,
            timeout_s=60,
        )
        if reply.exit_code != 0:
            raise InfraFailure(
                f"cannot provide {folder}: {reply.output.decode('utf-8', 'replace')}"
            )

    def exec_as(
        self, command: list[str], user: str, timeout_s: float, stdin: bytes | None = None
    ) -> ExecResult:
        """Run a program by a request of its own (55 ms): no shell that the agent used is involved.

        The exit code comes from the daemon, so nothing inside can forge it.
        """
        began = time.monotonic()
        with translated("starting a program in the sandbox"):
            made = self._api.exec_create(
                self._container,
                command,
                user=user,
                environment=self._environment(),
                workdir=self.spec.workdir,
                stdin=stdin is not None,
            )["Id"]
            connection, release = _connection(self._api.exec_start(made, socket=True))
            if stdin is not None:
                connection.sendall(stdin)
                connection.shutdown(socket.SHUT_WR)
            reply = drain(connection, timeout_s, self.spec.limits.output_bytes)
            release()
            code = None if not reply.closed else self._api.exec_inspect(made)["ExitCode"]
        if code is None:
            self._gone = not self.kill_all()
        return ExecResult(
            exit_code=137 if code is None else int(code),
            output=reply.output,
            dropped=reply.dropped,
            timed_out=code is None,
            died=self._gone,
            seconds=time.monotonic() - began,
        )

    def close(self) -> None:
        """See `Sandbox.close`."""
        if self._closed:
            return
        self._closed = True
        for shell in (self._shell, self._warden):
            if shell is not None:
                shell.close()
        if self._container:
            with translated("removing a sandbox"):
                remove(client(), self._container)

    def _start(self) -> None:
        with translated(f"starting a sandbox from {self.spec.image}"):
            made = self._api.create_container(
                self.spec.image,
                _BASH,
                name=f"turngym-{uuid.uuid4().hex[:12]}",
                user="0:0",
                stdin_open=True,
                environment=self._environment(),
                labels={LABEL: owner()},
                working_dir="/",
                network_disabled=True,
                host_config=self._api.create_host_config(**self._host_config()),
            )
            self._container = str(made["Id"])
            attached = self._api.attach_socket(
                self._container, params={"stdin": 1, "stdout": 1, "stream": 1}
            )
            self._warden = Shell(*_connection(attached))
            self._api.start(self._container)
        if self._warden.builtin("true", timeout_s=60).exit_code != 0:
            raise InfraFailure(f"{self.spec.image} has no working bash as its first process")
        if self._gives_folder:
            self._warden.builtin(f"chown {self.spec.user} {shlex.quote(self.spec.workdir)}")

    @property
    def _gives_folder(self) -> bool:
        """Podman's tmpfs knows no owner, so the warden gives the working directory away."""
        return self.spec.disk == "tmpfs" and is_podman()

    def _environment(self) -> dict[str, str]:
        return {**PINNED, **self.spec.environment}

    def _host_config(self) -> dict[str, Any]:
        limits = self.spec.limits
        uid, _, gid = self.spec.user.partition(":")
        scratch = f"rw,exec,nosuid,nodev,size={limits.disk_mb}m"
        tmpfs = {
            "/tmp": f"{scratch},mode=1777",
            "/run": "rw,nosuid,nodev,noexec,size=64m,mode=0755",
        }
        if self.spec.disk == "tmpfs":
            given = "" if is_podman() else f",uid={uid},gid={gid or uid}"
            tmpfs[self.spec.workdir] = f"{scratch}{given},mode=0755"
        config: dict[str, Any] = {
            "auto_remove": True,
            "network_mode": "none",
            "cap_drop": ["ALL"],
            "cap_add": ["KILL", "CHOWN"] if self._gives_folder else ["KILL"],
            "security_opt": ["no-new-privileges"],
            "pids_limit": limits.pids,
            "mem_limit": f"{limits.memory_mb}m",
            "memswap_limit": f"{limits.memory_mb}m",
            "nano_cpus": int(limits.cpus * 1e9),
            "read_only": self.spec.disk == "tmpfs",
            "tmpfs": tmpfs,
            "ipc_mode": "private",
            "shm_size": "16m",
            "binds": [f"{mount.source}:{mount.target}:ro" for mount in self.spec.mounts],
            "log_config": {"type": "none"},
        }
        return config

    def _ready_shell(self) -> Shell | None:
        """The command shell, opened anew after a kill; None when the container is gone."""
        if self._closed:
            raise UsageError("the sandbox is closed")
        with self._opening:
            if self._shell is None:
                if self._gone or not self.alive:
                    self._gone = True
                    return None
                self._shell = self._open_shell()
                self._shell_pid = int(self._shell.builtin("echo $$").output or 0)
            return self._shell

    def _open_shell(self) -> Shell:
        with translated("opening a shell in the sandbox"):
            made = self._api.exec_create(
                self._container,
                _BASH,
                stdin=True,
                user=self.spec.user,
                environment=self._environment(),
            )["Id"]
            return Shell(*_connection(self._api.exec_start(made, socket=True)))

    def _watch_disk(self) -> None:
        """Kill the container once it has written more than `disk_mb`, until it is closed."""
        while not self._closed:
            time.sleep(1.0)
            with contextlib.suppress(InfraFailure), translated("measuring a sandbox's disk"):
                found = self._api.containers(filters={"id": self._container}, size=True)
                if found and found[0].get("SizeRw", 0) > self.spec.limits.disk_mb * 1_000_000:
                    remove(client(), self._container)

    def _feed(self, command: str, data: bytes) -> Reply:
        shell = self._ready_shell()
        if shell is None:
            raise InfraFailure("the sandbox is gone")
        reply = shell.feed(command, data, timeout_s=300)
        if reply.exit_code is None:
            self.kill_all()
            raise InfraFailure("the sandbox did not take the data")
        return reply

    def _unpack(self, snapshot: Snapshot) -> None:
        workdir = shlex.quote(self.spec.workdir)
        reply = self._feed(
            f"find {workdir} /tmp -mindepth 1 -delete; tar -x --no-same-owner -C {workdir} -f -",
            snapshot.archive,
        )
        if reply.exit_code:
            raise InfraFailure(
                f"cannot fill {self.spec.workdir}: {reply.output.decode('utf-8', 'replace')[-500:]}"
            )


def image_seed(spec: SandboxSpec) -> Snapshot:
    """The working directory as the image has it; read once per image and process."""
    return _seed(image_id(spec.image), spec.image, spec.workdir)


@functools.lru_cache(maxsize=8)
def _seed(identity: str, image: str, workdir: str) -> Snapshot:
    import docker.errors

    api = client().api
    with translated(f"reading {workdir} of {image}"):
        made = api.create_container(identity, _BASH, labels={LABEL: owner()})["Id"]
        try:
            chunks, _ = api.get_archive(made, workdir)
            raw = b"".join(chunks)
        except docker.errors.NotFound:
            raw = b""
        finally:
            remove(client(), made)
    return Snapshot(image=image, workdir=workdir, archive=unrooted(raw))


def _connection(opened: Any) -> tuple[socket.socket, Callable[[], None]]:
    """The plain socket behind what the SDK gives, and what frees both."""
    raw: socket.socket = opened._sock
    response = opened._response

    def release() -> None:
        # Closing alone leaves the stream open while the SDK's buffers hold the descriptor.
        with contextlib.suppress(OSError):
            raw.shutdown(socket.SHUT_RDWR)
        response.close()
        raw.close()

    return raw, release
