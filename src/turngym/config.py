"""Settings: frozen pydantic models read from TOML with `key=value` overrides on top."""

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from turngym.errors import ConfigError, closest

__all__ = ["Config", "apply_overrides", "config_hash", "load_config", "parse"]

ConfigT = TypeVar("ConfigT", bound="Config")


class Config(BaseModel):
    """Base of all settings: frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def load_config(kind: type[ConfigT], path: str | Path, overrides: Iterable[str] = ()) -> ConfigT:
    """Settings of type `kind` from a TOML file, with overrides such as `credit.gamma=0.9`.

    Raises:
        ConfigError: no such file, TOML syntax, unknown key (with the closest match), wrong value.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {path}: {error.strerror}") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    return parse(kind, apply_overrides(data, overrides), source=str(path))


def apply_overrides(data: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of `data` with each `a.b=value` set; values are TOML, and bare words are strings.

    Raises:
        ConfigError: an override without `=`, or one that descends into a plain value.
    """
    result: dict[str, Any] = json.loads(json.dumps(data))
    for override in overrides:
        key, equals, raw = override.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"an override looks like key.subkey=value, got {override!r}")
        *parents, leaf = key.strip().split(".")
        table = result
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{override!r}: {parent!r} is a plain value, not a table")
        table[leaf] = _value(raw.strip())
    return result


def parse(kind: type[ConfigT], data: Mapping[str, Any], source: str = "settings") -> ConfigT:
    """`data` checked against `kind`; one error lists every fault with its key.

    Raises:
        ConfigError: unknown key (with the closest match), wrong type, value out of range.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        faults = [_fault(kind, dict(item)) for item in error.errors()]
        raise ConfigError(f"{source}: " + "; ".join(faults)) from error


def config_hash(config: Config) -> str:
    """Sixteen hexadecimal digits that change when any setting changes."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _value(raw: str) -> Any:
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        return raw


def _fault(kind: type[BaseModel], item: Mapping[str, Any]) -> str:
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] != "extra_forbidden":
        return f"{path}: {item['msg']} (got {item['input']!r})"
    owner: type[BaseModel] | None = kind
    for part in item["loc"][:-1]:
        owner = _nested(owner, str(part))
    known = [] if owner is None else list(owner.model_fields)
    listed = f" Known: {', '.join(known)}." if known else ""
    return f"unknown key {path!r}.{closest(str(item['loc'][-1]), known)}{listed}"


def _nested(owner: type[BaseModel] | None, part: str) -> type[BaseModel] | None:
    """The settings class behind field `part`, also inside a union whose tag pydantic put in `loc`."""
    if owner is None:
        return None
    if part not in owner.model_fields:
        return owner
    annotation = owner.model_fields[part].annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None
