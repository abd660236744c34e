"""The three splits of tasks, the same in every family."""

from typing import Literal

from turngym.errors import ConfigError, closest

__all__ = ["SPLITS", "Split", "as_split"]

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")


def as_split(name: object) -> Split:
    """The split of that name.

    Raises:
        ConfigError: there is none; names the closest.
    """
    for split in SPLITS:
        if name == split:
            return split
    hint = closest(str(name), SPLITS)
    raise ConfigError(f"unknown split {name!r}.{hint} Known: {', '.join(SPLITS)}.")
