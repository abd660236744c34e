"""One byte form per value, the same in every process: the ground of fingerprints and anchors."""

import hashlib
from array import array
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np

__all__ = ["digest"]


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits of `value`'s content.

    Plain data, dataclasses, enums, arrays and containers of them; dict and set order is ignored;
    random generators are skipped.

    Raises:
        TypeError: a value with no canonical form; the message says where it lies.
    """
    state = hashlib.sha256()
    _feed(state.update, value, "state")
    return state.hexdigest()[:16]


def _feed(update: Callable[[bytes], None], value: Any, where: str) -> None:
    if value is None or isinstance(value, (bool, int, float, str, bytes, Enum, PurePath)):
        text = f"{type(value).__name__}:{value!r}".encode("utf-8", "surrogatepass")
        update(len(text).to_bytes(8, "little") + text)
    elif isinstance(value, np.random.Generator):
        return
    elif isinstance(value, Mapping):
        update(f"map{len(value)}".encode())
        for key in sorted(value, key=repr):
            _feed(update, key, where)
            _feed(update, value[key], f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        update(f"seq{len(value)}".encode())
        for index, item in enumerate(value):
            _feed(update, item, f"{where}[{index}]")
    elif isinstance(value, (set, frozenset)):
        update(f"set{len(value)}".encode())
        for key in sorted(digest(item) for item in value):
            update(key.encode())
    elif isinstance(value, (array, np.ndarray, np.generic)):
        data = np.asarray(value)
        update(f"array{data.dtype.str}{data.shape}".encode() + data.tobytes())
    elif is_dataclass(value) and not isinstance(value, type):
        update(type(value).__qualname__.encode())
        for item in fields(value):
            _feed(update, getattr(value, item.name), f"{where}.{item.name}")
    else:
        raise TypeError(
            f"{where} is a {type(value).__name__}, which has no canonical form: keep plain data or "
            "dataclasses in it, or name the attribute in the environment's `shared`"
        )
