"""Settings: frozen pydantic models read from TOML with `key=value` overrides on top."""

import copy
import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date, time
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from turngym.errors import ConfigError, closest

__all__ = ["Config", "apply_overrides", "config_hash", "load_config", "parse", "read_toml"]

ConfigT = TypeVar("ConfigT", bound="Config")


class Config(BaseModel):
    """Base of all settings: frozen, and unknown keys are refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        coerce_numbers_to_str=True,  # so that name=7 on a command line is a name
    )


def load_config(kind: type[ConfigT], path: str | Path, overrides: Iterable[str] = ()) -> ConfigT:
    """Settings of type `kind` from a TOML file, with overrides such as `credit.gamma=0.9`.

    Raises:
        ConfigError: no such file, TOML syntax, unknown key (with the closest match), wrong value.
    """
    return parse(kind, apply_overrides(read_toml(path), overrides), source=str(path))


def read_toml(path: str | Path) -> dict[str, Any]:
    """What a settings file holds, unchecked.

    Raises:
        ConfigError: no such file, not UTF-8, TOML syntax.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error.reason}") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def apply_overrides(data: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of `data` with each `a.b=value` set; values are TOML, and bare words are strings.

    Raises:
        ConfigError: an override without `=`, or one that descends into a plain value.
    """
    result = copy.deepcopy(dict(data))
    for override in overrides:
        key, equals, raw = override.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"an override looks like key.subkey=value, got {override!r}")
        *parents, leaf = (part.strip() for part in key.split("."))
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
    # As any: a field declared as a base class counts with all fields of what it holds.
    text = json.dumps(config.model_dump(mode="json", serialize_as_any=True), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _value(raw: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {raw}")
    except tomllib.TOMLDecodeError:
        return raw
    value = parsed["value"]
    # Dates are never meant (a run may be called 2026-01-31), nor a second line.
    return raw if len(parsed) > 1 or isinstance(value, date | time) else value


def _fault(kind: type[BaseModel], item: Mapping[str, Any]) -> str:
    """One line about one fault that pydantic found."""
    path, owners = _resolve(kind, item["loc"])
    got, context = item["input"], item.get("ctx", {})
    match item["type"]:
        case "extra_forbidden":
            known = sorted({name for owner in owners for name in owner.model_fields})
            return f"unknown key {path!r}.{closest(path.split('.')[-1], known)}{_listed(known)}"
        case "missing":
            return f"{path} is missing"
        case "union_tag_invalid":
            tags = _quoted(context["expected_tags"])
            name = f"{path}.{context['discriminator']}".replace("'", "")
            return (
                f"unknown {name} {context['tag']!r}.{closest(context['tag'], tags)}{_listed(tags)}"
            )
        case "literal_error" | "enum":
            return (
                f"{path}: {item['msg']} (got {got!r:.80}).{closest(str(got), _quoted(item['msg']))}"
            )
    return f"{path}: {item['msg'].removeprefix('Value error, ')} (got {got!r:.80})"


def _listed(names: Iterable[str]) -> str:
    text = ", ".join(names)
    return f" Known: {text}." if text else ""


def _quoted(text: str) -> list[str]:
    return re.findall(r"'([^']*)'", text)


def _resolve(kind: type[BaseModel], loc: Iterable[int | str]) -> tuple[str, list[type[BaseModel]]]:
    """The dotted key behind pydantic's location, and the classes that could own its last part.

    Inside a union the location holds the tag or the class name too; the user never wrote those.
    """
    owners: list[type[BaseModel]] = [kind]
    inside: list[type[BaseModel]] = [kind]
    path: list[str] = []
    for part in map(str, loc):
        if chosen := [model for model in inside if part == model.__name__ or part in _tags(model)]:
            if part not in {name for model in inside for name in model.model_fields}:
                inside = chosen
                continue
        path.append(part)
        owners = inside
        fields = [m.model_fields[part].annotation for m in inside if part in m.model_fields]
        if fields:  # else an index of a list or a key of a dict: still inside the same classes
            inside = [model for annotation in fields for model in _models(annotation)]
    return ".".join(path), owners


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Settings classes named in an annotation: itself, or inside a union, list, tuple or dict."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def _tags(model: type[BaseModel]) -> set[str]:
    """Literal values of the fields: a discriminator is one of them."""
    fields = model.model_fields.values()
    return {
        str(v)
        for f in fields
        if get_origin(f.annotation) is Literal
        for v in get_args(f.annotation)
    }
