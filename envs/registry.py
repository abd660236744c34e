"""Environment ids: Gymnasium's registry, filled by us, by users and by the entry-point group."""

from importlib.metadata import entry_points
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator, registry

from turngym.envs.env import TextEnv
from turngym.errors import UnknownNameError

__all__ = ["ENTRY_POINT_GROUP", "ids", "load_plugins", "make", "register"]

ENTRY_POINT_GROUP = "turngym.envs"


def register(id: str, entry_point: str | type[TextEnv], **kwargs: Any) -> None:
    """Make an environment known to `turngym.make` and `gymnasium.make`.

    Args:
        id: `Name-v0` or `namespace/Name-v0`.
        entry_point: the class, or "package.module:Class", which is imported only when made.
        kwargs: passed to the class, such as `max_turns=8`.
    """
    registered = registry.get(id)
    if registered is not None and registered.entry_point == entry_point:
        return  # the same registration again, as when a module is reloaded
    gymnasium.register(
        id,
        entry_point=entry_point,  # type: ignore[arg-type]
        kwargs=kwargs,
        order_enforce=False,  # TextEnv enforces it itself, and its forks must not lose it
        disable_env_checker=True,
    )


def make(id: str, **kwargs: Any) -> TextEnv:
    """A new environment, unwrapped: forks, snapshots and tasks are there at once.

    Raises:
        UnknownNameError: no such id; the message lists the known ones and the closest.
    """
    if id not in registry:
        load_plugins()
    spec = registry.get(id)
    if spec is None:
        raise UnknownNameError("environment", id, ids(), "See `turngym envs`.")
    if isinstance(spec.entry_point, str):
        creator: Any = load_env_creator(spec.entry_point)
    else:
        creator = spec.entry_point
    env = creator(**{**spec.kwargs, **kwargs})
    if not isinstance(env, TextEnv):
        raise TypeError(f"{id} made a {type(env).__name__}, which is not a turngym.TextEnv")
    env.spec = spec
    return env


def ids() -> list[str]:
    """Ids of all registered text environments, sorted; classic Gymnasium ones are left out."""
    return sorted(
        name
        for name, spec in registry.items()
        if spec.order_enforce is False and spec.disable_env_checker
    )


def load_plugins() -> None:
    """Run every `turngym.envs` entry point: each is a function that calls `register`."""
    for point in entry_points(group=ENTRY_POINT_GROUP):
        point.load()()


register("turngym/WebShop-v0", "turngym.envs.web_shop.env:WebShop")
register("turngym/EmotionalSupport-v0", "turngym.envs.emotional_support.env:EmotionalSupport")
