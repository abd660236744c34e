"""One registry type for every named part: rewards, credit methods, losses, signals, agents."""

import importlib
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar, cast

from turngym.errors import UnknownNameError

__all__ = ["Registry", "load_object"]

T = TypeVar("T")


def load_object(path: str) -> Any:
    """The object behind `"package.module:attribute"`.

    Raises:
        ValueError: the path has no colon.
        ImportError, AttributeError: as Python raises them, so that the real cause stays visible.
    """
    module, colon, attribute = path.partition(":")
    if not colon or not module or not attribute:
        raise ValueError(f"an import path looks like 'package.module:attribute', got {path!r}")
    return getattr(importlib.import_module(module), attribute)


class Registry(Generic[T]):
    """Names to objects. A string value is an import path, loaded at the first look-up.

    Example:
        >>> losses: Registry[Any] = Registry("loss")
        >>> losses.add("clip", "turngym.trainers.losses.clip:clip")
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T | str] = {}

    def add(self, name: str, entry: T | str) -> None:
        """Bind `name`; binding it again to something else is refused.

        Raises:
            ValueError: the name is taken by another entry.
        """
        old = self._entries.get(name, entry)
        if old is not entry and old != entry:
            raise ValueError(f"{self.kind} {name!r} is already registered as {old!r}")
        self._entries[name] = entry

    def register(self, name: str) -> Callable[[T], T]:
        """The decorator form of `add`."""

        def bind(entry: T) -> T:
            self.add(name, entry)
            return entry

        return bind

    def __getitem__(self, name: str) -> T:
        """The entry called `name`.

        Raises:
            UnknownNameError: no such name; the message lists the known ones and the closest.
        """
        if name not in self._entries:
            raise UnknownNameError(self.kind, name, self._entries)
        entry = self._entries[name]
        if isinstance(entry, str):
            entry = cast(T, load_object(entry))
            self._entries[name] = entry
        return entry

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)
