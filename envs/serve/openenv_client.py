"""An environment behind any OpenEnv server, played like our own.

    env = OpenEnvEnv("http://localhost:8000")

A server of turngym speaks in messages. Of any other, observations are shown as JSON, and a reply must
be the JSON of an action. A fork opens a session of its own and repeats what was done, so it needs a
server that gives the same for the same seed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from turngym.envs.env import EnvState, Observation, StepResult, TextEnv
from turngym.errors import EnvironmentFailure, InfraFailure, MissingExtraError
from turngym.serial import message_from, message_to
from turngym.types import Message, user

__all__ = ["OpenEnvEnv"]


class OpenEnvEnv(TextEnv):
    """Plays over a WebSocket; each environment holds one session.

    Args:
        url: of the server, such as `http://localhost:8000`.
        timeout_s: for one answer.
        max_turns: as in every TextEnv.
    """

    shared: ClassVar[frozenset[str]] = frozenset({"url", "timeout_s", "_client"})

    def __init__(self, url: str, *, timeout_s: float = 60.0, max_turns: int | None = None) -> None:
        super().__init__(max_turns=max_turns)
        self.url, self.timeout_s = url, timeout_s
        self._client: Any = None
        self._began: dict[str, Any] = {}
        self._actions: list[dict[str, Any]] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Ask the server for a new episode; `options` go along."""
        self._began = {**(options or {}), **({} if seed is None else {"seed": seed})}
        self._actions = []
        result = self._ask("reset", self._began)
        self.tools = tuple(result.observation.get("tools", ()))
        return _messages(result.observation), _told(result)

    def step(self, action: Message) -> StepResult:
        """One action."""
        sent = self._action(action)
        if sent is None:
            info = {"status": "invalid_action"}
            return (user("An action is a JSON object."),), 0.0, False, False, info
        result = self._ask("step", sent)
        self._actions.append(sent)
        told = _told(result)
        truncated = bool(told.pop("truncated", False))
        told.pop("terminated", None)
        reward = float(result.reward or 0.0)
        new = _messages(result.observation)
        return new, reward, bool(result.done) and not truncated, truncated, told

    def set_state(self, state: EnvState) -> None:
        """Continue from `state`, in a session of its own."""
        super().set_state(state)
        self._client = None

    def close(self) -> None:
        """End the session."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _action(self, reply: Message) -> dict[str, Any] | None:
        if self._in_messages:
            said = message_to(reply)
            return {"content": reply.content, "tool_calls": said.get("tool_calls", [])}
        try:
            action = json.loads(reply.content)
        except ValueError:
            return None
        return action if isinstance(action, dict) else None

    def _ask(self, verb: str, data: Mapping[str, Any]) -> Any:
        """The server's answer, from a session that has behind it what this episode has."""
        try:
            if self._client is None:
                self._client = self._connect()
                if verb == "step":
                    self._client.reset(**self._began)
                    for action in self._actions:
                        self._client.step(action)
            if verb == "reset":
                result = self._client.reset(**data)
                self._in_messages = "messages" in result.observation
                return result
            return self._client.step(dict(data))
        except (OSError, TimeoutError, ConnectionError) as error:
            self._client = None
            raise InfraFailure(
                f"the OpenEnv server at {self.url} does not answer: {error}"
            ) from error
        except RuntimeError as error:  # what OpenEnv raises for an error frame
            raise EnvironmentFailure(f"the OpenEnv server at {self.url} says: {error}") from error

    def _connect(self) -> Any:
        try:
            from openenv.core.generic_client import GenericEnvClient
        except ImportError as error:
            raise MissingExtraError("openenv", "openenv") from error
        client = GenericEnvClient(base_url=self.url, message_timeout_s=self.timeout_s).sync()
        client.connect()
        return client

    _in_messages: bool = True


def _messages(observation: Mapping[str, Any]) -> Observation:
    if "messages" in observation:
        return tuple(message_from(data) for data in observation["messages"])
    return (user(json.dumps(observation, ensure_ascii=False)),)


def _told(result: Any) -> dict[str, Any]:
    return {name: value for name, value in (result.metadata or {}).items() if value is not None}
