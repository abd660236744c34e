"""The Docker daemon: a client, its errors as ours, and the reaper of what dead owners left behind."""

import atexit
import functools
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from turngym.errors import InfraFailure, InfraTimeout, MissingExtraError

__all__ = ["LABEL", "client", "image_id", "is_podman", "owner", "reap", "remove", "translated"]

LABEL = "turngym.sandbox"
"""Label of every container that turngym starts; its value is the owner."""


@functools.cache
def client() -> Any:
    """The `docker.DockerClient` of this process; DOCKER_HOST may point at Podman's socket.

    Raises:
        MissingExtraError: the Docker SDK is not installed.
        InfraFailure: no daemon answers; the message holds the remedy.
    """
    try:
        import docker
    except ImportError as error:
        raise MissingExtraError("docker", "swe") from error
    try:
        _knock(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
        made = docker.from_env(max_pool_size=64, timeout=120)
        made.ping()
    except Exception as error:  # the SDK passes on whatever the transport raised
        raise InfraFailure(
            f"no Docker daemon answers ({type(error).__name__}: {error}). Start one (`dockerd`, "
            "Docker Desktop, or `podman system service` with DOCKER_HOST set to its socket), or "
            "run `.ci/docker` in a checkout, which installs and starts Debian's."
        ) from error
    atexit.register(made.close)
    reap(made)
    return made


@functools.cache
def is_podman() -> bool:
    """Whether Podman answers, whose tmpfs knows no owner."""
    parts = client().version().get("Components") or ()
    return any("podman" in str(part.get("Name", "")).lower() for part in parts)


def _knock(address: str) -> None:
    """Connect once to a Unix socket: the SDK leaks its socket when nobody answers."""
    if address.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(address.removeprefix("unix://"))


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Errors of the daemon as InfraFailure or InfraTimeout."""
    import docker.errors
    import requests

    try:
        yield
    except docker.errors.ImageNotFound as error:
        raise InfraFailure(
            f"{doing}: no such image. Pull it, or make the base image with docker/make_base.sh "
            f"({error.explanation})"
        ) from error
    except requests.exceptions.Timeout as error:
        raise InfraTimeout(f"{doing}: the Docker daemon did not answer in time") from error
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise InfraFailure(f"{doing}: {type(error).__name__}: {error}") from error


def image_id(image: str) -> str:
    """The content digest of an image.

    Raises:
        InfraFailure: it is not on this machine and cannot be pulled.
    """
    with translated(f"looking up image {image}"):
        return str(client().images.get(image).id)


def owner() -> str:
    """This process: host, pid and start time, so that a reused pid is not mistaken for it."""
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"


def reap(docker_client: Any = None) -> int:
    """Remove containers whose owner on this host is dead; gives back how many.

    A container ends by itself when its owner's connection closes, even after kill -9; this also
    catches those that outlived a crash of the daemon.
    """
    docker_client = docker_client or client()
    removed = 0
    with translated("removing left-over sandboxes"):
        for item in docker_client.api.containers(all=True, filters={"label": LABEL}):
            if _dead(item["Labels"][LABEL]):
                remove(docker_client, item["Id"])
                removed += 1
    return removed


def remove(docker_client: Any, container: str) -> None:
    """Remove one container, running or not; one that is already going is fine."""
    import docker.errors

    for attempt in range(40):
        try:
            docker_client.api.remove_container(container, force=True, v=True)
            return
        except docker.errors.APIError as error:
            # The daemon may be removing it at this moment, which is what was asked for.
            if error.status_code in (404, 409):
                return
            if "improper" not in str(error) or attempt == 39:
                raise
            time.sleep(0.05)  # Podman calls a container that is just stopping "improper"


def _dead(label: str) -> bool:
    host, _, rest = label.partition(":")
    pid, _, started = rest.partition(":")
    return host == socket.gethostname() and _started(int(pid)) != started


def _started(pid: int) -> str:
    """Start time of a process in clock ticks; '' when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "" if not Path("/proc/self/stat").exists() else "none"
    return stat.rpartition(")")[2].split()[19]
