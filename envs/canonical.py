"""One byte form per value, the same in every process: the ground of fingerprints and anchors."""

import hashlib
import random
from array import array
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import PurePath
from typing import Any

import numpy as np

__all__ = ["digest"]


_Place = tuple[Any, ...]
"""Where a value lies; put into words only for an error, since every turn's observation comes here."""


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits of `value`'s content.

    Plain data, dataclasses, pydantic models, enums, arrays and containers of them; dict and set
    order is ignored; random generators are skipped.

    Raises:
        TypeError: a value with no canonical form; the message says where it lies.
    """
    state = hashlib.sha256()
    _feed(state.update, value, ("state",))
    return state.hexdigest()[:16]


def _feed(update: Callable[[bytes], None], value: Any, where: _Place) -> None:
    if value is None or isinstance(value, _PLAIN):
        text = f"{type(value).__name__}:{value!r}".encode("utf-8", "surrogatepass")
        update(_head(b"one", len(text)) + text)
    elif isinstance(value, (np.random.Generator, random.Random)):
        return
    elif isinstance(value, Mapping):
        update(_head(b"map", len(value)))
        for key in sorted(value, key=repr):
            _feed(update, key, where)
            _feed(update, value[key], (where, f".{key}"))
    elif isinstance(value, (list, tuple, deque, range)):
        update(_head(b"seq", len(value)))
        for index, item in enumerate(value):
            _feed(update, item, (where, "[", index, "]"))
    elif isinstance(value, (set, frozenset)):
        update(_head(b"set", len(value)))
        for key in sorted(digest(item) for item in value):
            update(key.encode())
    elif isinstance(value, (array, np.ndarray, np.generic)):
        _feed_array(update, np.asarray(value), where)
    elif (names := _field_names(type(value))) is not None:  # type: ignore[arg-type]  # hashable
        update(_head(type(value).__qualname__.encode(), len(names)))
        for name in names:
            _feed(update, getattr(value, name), (where, ".", name))
    else:
        raise TypeError(
            f"{_spelled(where)} is a {type(value).__name__}, which has no canonical form: keep "
            "plain data or dataclasses in it, or name the attribute in the environment's `shared`"
        )


_PLAIN = (str, int, float, bool, bytes, bytearray, Enum, PurePath)


def _spelled(where: _Place) -> str:
    return "".join(_spelled(part) if isinstance(part, tuple) else str(part) for part in where)


def _head(tag: bytes, length: int) -> bytes:
    """Opens each value with its kind and length, so that no two values share their bytes."""
    return tag + length.to_bytes(8, "little")


def _feed_array(update: Callable[[bytes], None], data: Any, where: _Place) -> None:
    if data.dtype.hasobject:  # its bytes are addresses
        _feed(update, data.tolist(), where)
    else:
        head = f"array{data.dtype.str}{data.shape}".encode()
        update(_head(head, data.nbytes) + data.tobytes())


@cache
def _field_names(kind: type) -> tuple[str, ...] | None:
    """Fields of a dataclass or a pydantic model; None for any other class."""
    if is_dataclass(kind):
        return tuple(item.name for item in fields(kind))
    known = getattr(kind, "model_fields", None)
    return tuple(known) if isinstance(known, dict) else None
