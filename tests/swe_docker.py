"""Helpers for tests that need a Docker daemon and the base image."""

import functools
import os

import pytest

from turngym.envs.sandbox import Snapshot
from turngym.envs.sandbox.archive import pack
from turngym.errors import TurnGymError

IMAGE = os.environ.get("TURNGYM_BASE_IMAGE", "turngym/swe-base:bookworm")


@functools.cache
def missing() -> str:
    """Why Docker tests cannot run here; '' when they can."""
    try:
        from turngym.envs.sandbox.daemon import image_id

        image_id(IMAGE)
    except TurnGymError as error:
        return str(error)
    return ""


def require_docker() -> None:
    """Skip the module without a daemon, or fail where TURNGYM_REQUIRE_DOCKER is set."""
    if reason := missing():
        if os.environ.get("TURNGYM_REQUIRE_DOCKER"):
            pytest.fail(reason)
        pytest.skip(reason)


def seed(files: dict[str, str]) -> Snapshot:
    """A working directory with text files."""
    return Snapshot(
        image=IMAGE,
        workdir="/testbed",
        archive=pack({path: text.encode() for path, text in files.items()}),
    )
