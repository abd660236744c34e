"""Any environment behind an OpenEnv server: one WebSocket session is one episode, many at a time.

    turngym serve turngym/WebShop-v0 size=demo --port 8000

An action is `{"content": ..., "tool_calls": [...]}`, an observation the new messages and the tools.
Terminated and truncated, which OpenEnv knows as one `done`, are told apart in the metadata, beside
outcome and success. What only judges may read is never sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from openenv.core.env_server.http_server import create_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, EnvironmentMetadata, Observation, State
from pydantic import Field

from turngym.envs.env import TextEnv
from turngym.errors import ConfigError
from turngym.serial import message_from, message_to
from turngym.types import Message
from turngym.version import __version__

__all__ = ["Served", "TextAction", "TextObservation", "openenv_app"]

SPLITS = ("train", "dev", "test")


class TextAction(Action):  # type: ignore[misc]  # OpenEnv's classes have no types for us
    """What the agent says."""

    content: str = ""
    tool_calls: list[dict[str, Any]] = Field(default_factory=list)
    """`{"id", "name", "arguments"}` each."""


class TextObservation(Observation):  # type: ignore[misc]
    """Messages that are new since the last action."""

    messages: list[dict[str, Any]] = Field(default_factory=list)
    tools: list[dict[str, Any]] = Field(default_factory=list)
    """OpenAI function schemas."""


class Served(Environment):  # type: ignore[misc]
    """A TextEnv in OpenEnv's terms."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, make_env: Callable[[], TextEnv], name: str) -> None:
        super().__init__()
        self.env, self.name = make_env(), name
        self._state = State(episode_id=None, step_count=0)

    def reset(
        self, seed: int | None = None, episode_id: str | None = None, **options: Any
    ) -> TextObservation:
        """Begin an episode; `split` and `task_id`, or `split` and `index`, choose the task."""
        if "index" in options:
            split = str(options.get("split", "train"))
            options["task_id"] = self.env.tasks(split)[int(options.pop("index"))]
        chosen = {name: options[name] for name in ("split", "task_id") if options.get(name)}
        messages, info = self.env.reset(seed=seed, options=chosen)
        self._state = State(episode_id=episode_id, step_count=0)
        return self._observed(messages, None, False, {"task_id": info.get("task_id", "")})

    def step(self, action: TextAction, timeout_s: float | None = None, **_: Any) -> TextObservation:
        """One reply."""
        said = {"role": "assistant", **action.model_dump(include={"content", "tool_calls"})}
        messages, reward, terminated, truncated, info = self.env.step(message_from(said))
        self._state.step_count += 1
        told: dict[str, Any] = {
            name: info[name]
            for name in ("outcome", "success", "status", "feedback", "turn_reward", "rewards")
            if name in info
        }
        told |= {"terminated": terminated, "truncated": truncated}
        return self._observed(messages, reward, terminated or truncated, told)

    @property
    def state(self) -> State:
        """Episode and steps taken; nothing hidden."""
        return self._state

    def get_metadata(self) -> EnvironmentMetadata:
        """Name and first line of the documentation."""
        described = (type(self.env.unwrapped).__doc__ or self.name).strip().split("\n")[0]
        return EnvironmentMetadata(name=self.name, description=described, version=__version__)

    def list_splits(self) -> list[str]:
        """The usual three."""
        return list(SPLITS)

    def num_tasks(self, split: str) -> int:
        """0 where tasks are drawn from seeds alone."""
        return len(self.env.tasks(split))

    def list_tasks(self, split: str) -> list[dict[str, Any]]:
        """Their stable ids."""
        return [{"id": task, "index": i} for i, task in enumerate(self.env.tasks(split))]

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        """One of them."""
        return self.list_tasks(split)[index]

    def close(self) -> None:
        """Release what the environment holds."""
        self.env.close()

    def _observed(
        self,
        messages: tuple[Message, ...],
        reward: float | None,
        done: bool,
        metadata: Mapping[str, Any],
    ) -> TextObservation:
        return TextObservation(
            messages=[message_to(message) for message in messages],
            tools=[json.loads(json.dumps(tool)) for tool in self.env.tools],
            reward=reward,
            done=done,
            metadata=dict(metadata),
        )


def openenv_app(make_env: Callable[[], TextEnv], name: str, *, max_sessions: int = 64) -> Any:
    """The FastAPI application that serves an environment.

    Args:
        make_env: makes a fresh environment, once per session.
        name: shown to clients.
        max_sessions: episodes at a time; more are refused with CAPACITY_REACHED.

    Raises:
        ConfigError: `max_sessions` is not positive.
    """
    if max_sessions < 1:
        raise ConfigError(f"max_sessions must be at least 1, got {max_sessions}")
    return create_app(
        lambda: Served(make_env, name),
        TextAction,
        TextObservation,
        env_name=name.rpartition("/")[2],
        max_concurrent_envs=max_sessions,
    )
