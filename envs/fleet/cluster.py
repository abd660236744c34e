"""A Ray cluster: what `ray:8@HOST:PORT` says, and the connection to it."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from typing import Any

from turngym.errors import ConfigError, MissingExtraError

__all__ = ["MOVES", "RayWorkers", "connect", "parse_workers"]

MOVES = 3
"""So many times an episode or an evaluation is done again because its worker or machine died."""

_FORM = re.compile(r"ray:(?P<count>[1-9]\d*)(@(?P<address>\S+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class RayWorkers:
    """How many worker processes of which cluster; each reserves one CPU of Ray's count."""

    count: int
    address: str = ""
    """`HOST:PORT`; `local`: a new one on this machine; "": RAY_ADDRESS, else the one that runs here."""

    def __str__(self) -> str:
        return f"ray:{self.count}" + (f"@{self.address}" if self.address else "")


def parse_workers(text: str) -> int | RayWorkers:
    """A number of threads on this machine, or workers of a cluster.

    Example:
        >>> parse_workers("ray:8@10.0.0.1:6379")
        RayWorkers(count=8, address='10.0.0.1:6379')

    Raises:
        ConfigError: neither.
    """
    if re.fullmatch(r"[1-9]\d*", text):
        return int(text)
    found = _FORM.fullmatch(text)
    if found is None:
        raise ConfigError(
            "workers are a number from 1, or ray:NUMBER for that many on a Ray cluster "
            f"(ray:NUMBER@HOST:PORT says which), got {text!r}"
        )
    return RayWorkers(count=int(found["count"]), address=found["address"] or "")


def connect(address: str) -> Any:
    """The module `ray`, connected.

    Raises:
        MissingExtraError: ray is not installed.
        ConfigError: no cluster answers there, or this process is connected to another one.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
    wanted = address or os.environ.get("RAY_ADDRESS") or "auto"
    if ray.is_initialized():
        here = ray.get_runtime_context().gcs_address
        if address not in ("", "auto", "local", here):
            raise ConfigError(f"this process works with the Ray cluster {here}, not {address}")
        return ray
    _check_port(wanted)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a cluster that begins here
    try:
        ray.init(address=wanted, log_to_driver=False, logging_level="error")
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise ConfigError(_no_cluster(wanted, error)) from error
    return ray


def _check_port(address: str) -> None:
    """Ray itself tries a dead address for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise ConfigError(_no_cluster(address, error)) from error


def _no_cluster(address: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:300]
    if address == "auto":
        return (
            f"no Ray cluster runs on this machine ({reason}): start one with `ray start --head`, "
            "or name another with ray:NUMBER@HOST:PORT"
        )
    return (
        f"no Ray cluster to work with at {address!r} ({reason}). Expected HOST:PORT of a head that "
        "`ray start --head --port=6379` started, with the versions of Ray and Python of this process"
    )
