"""Environment ids: Gymnasium's registry, filled by us, by users and by the entry-point group."""

import importlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator, registry

from turngym.envs.env import TextEnv
from turngym.errors import ConfigError, UnknownNameError, closest

__all__ = ["ENTRY_POINT_GROUP", "EnvRow", "describe", "ids", "load_plugins", "make", "register"]

ENTRY_POINT_GROUP = "turngym.envs"

_registered: set[str] = set()
_loaded: set[EntryPoint] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvRow:
    """One line of `turngym envs`."""

    id: str
    summary: str
    """First line of the class's docstring, or why the class cannot be imported."""


def register(id: str, entry_point: str | type[TextEnv], **kwargs: Any) -> None:
    """Make an environment known to `turngym.make` and `gymnasium.make`.

    Registering the same class again, as a reloaded module does, replaces the settings.

    Args:
        id: `Name-v0` or `namespace/Name-v0`.
        entry_point: the class, or "package.module:Class", which is imported only when made.
        kwargs: passed to the class, such as `max_turns=8`.

    Raises:
        ValueError: the id belongs to another class.
        TypeError: the class is no TextEnv.
    """
    if isinstance(entry_point, type) and not issubclass(entry_point, TextEnv):
        raise TypeError(f"{id}: {entry_point.__name__} is not a subclass of turngym.TextEnv")
    old = registry.get(id)
    if old is not None:
        if _path(old.entry_point) != _path(entry_point):
            raise ValueError(f"{id} is already registered as {_path(old.entry_point)}")
        del registry[id]
    gymnasium.register(
        id,
        entry_point=entry_point,  # type: ignore[arg-type]
        kwargs=kwargs,
        order_enforce=False,  # TextEnv enforces it itself, and its forks must not lose it
        disable_env_checker=True,
    )
    _registered.add(id)


def make(id: str, **kwargs: Any) -> TextEnv:
    """A new environment, unwrapped: forks, snapshots and tasks are there at once.

    Args:
        id: as registered; `module:Name-v0` imports `module` first.
        kwargs: settings of the environment; they replace those given to `register`.

    Raises:
        UnknownNameError: no such id; the message lists the known ones and the closest.
        ConfigError: the environment has no such setting, or there is no such module.
    """
    module, colon, name = id.rpartition(":")
    if colon:
        _import(module)
    if name not in registry:
        load_plugins()
    spec = registry.get(name)
    if spec is None:
        raise UnknownNameError("environment", name, ids(), "See `turngym envs`.")
    creator = _creator(spec)
    settings = {**spec.kwargs, **kwargs}
    _check_settings(name, creator, settings)
    env = creator(**settings)
    if not isinstance(env, TextEnv):
        raise TypeError(f"{name} made a {type(env).__name__}, which is not a turngym.TextEnv")
    env.spec = spec
    return env


def ids() -> list[str]:
    """Ids of all registered text environments, sorted; classic Gymnasium ones are left out."""
    return sorted(
        name
        for name, spec in registry.items()
        if name in _registered
        or (isinstance(spec.entry_point, type) and issubclass(spec.entry_point, TextEnv))
    )


def describe() -> list[EnvRow]:
    """All registered text environments with a line about each; imports their classes."""
    return [EnvRow(id=name, summary=_summary(registry[name])) for name in ids()]


def load_plugins() -> None:
    """Run every `turngym.envs` entry point that has not run yet.

    Each names a function that calls `register`, or a module that does so when imported. One that
    fails is reported as a warning and holds up no other.
    """
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point in _loaded:
            continue
        try:
            target = point.load()
            if callable(target):
                target()
            _loaded.add(point)
        except Exception as error:  # a stranger's code: whatever it raises must not stop the rest
            owner = point.dist.name if point.dist else "an unknown distribution"
            warnings.warn(
                f"the environment plugin {point.name!r} of {owner} ({point.value}) failed: "
                f"{type(error).__name__}: {error}",
                stacklevel=2,
            )


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there and lacks something itself
        raise ConfigError(f"there is no Python module {module!r} on the import path") from error
    except SyntaxError as error:
        where = f"{error.filename}, line {error.lineno}"
        raise ConfigError(f"{module} cannot be imported: {error.msg} ({where})") from error


def _path(entry_point: Any) -> str:
    if isinstance(entry_point, str):
        return entry_point
    return f"{entry_point.__module__}:{entry_point.__qualname__}"


def _creator(spec: EnvSpec) -> Callable[..., Any]:
    if isinstance(spec.entry_point, str):
        return load_env_creator(spec.entry_point)
    return spec.entry_point  # type: ignore[return-value]


def _summary(spec: EnvSpec) -> str:
    try:
        return (inspect.getdoc(_creator(spec)) or "").partition("\n")[0]
    except (ImportError, AttributeError) as error:
        return f"(cannot be imported: {error})"


def _check_settings(id: str, creator: Callable[..., Any], settings: Mapping[str, Any]) -> None:
    parameters = inspect.signature(creator).parameters
    if any(item.kind is item.VAR_KEYWORD for item in parameters.values()):
        return
    for key in settings:
        if key not in parameters:
            known = ", ".join(parameters) or "none"
            raise ConfigError(
                f"{id} has no setting {key!r}.{closest(key, parameters)} Known: {known}."
            )


register("turngym/WebShop-v0", "turngym.envs.web_shop.env:WebShop")
register("turngym/ConversationalQA-v0", "turngym.envs.conversational_qa.env:ConversationalQA")
register("turngym/EmotionalSupport-v0", "turngym.envs.emotional_support.env:EmotionalSupport")
register("turngym/SWE-v0", "turngym.envs.swe.env:SWE")
register("turngym/ToolUse-v0", "turngym.envs.tool_use.env:ToolUse")
