"""Wrappers: a TextEnv around a TextEnv, with the whole interface and its own share of the state.

    env = TokenBudget(turngym.make("turngym/WebShop-v0"), max_tokens=2_000, count=count_tokens)

A wrapper of your own overrides `before` and `after`; both serve `step` and `astep`.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Self

from gymnasium.utils.seeding import np_random

from turngym.envs.canonical import digest
from turngym.envs.env import EnvState, Observation, StepResult, TextEnv, at_least_one
from turngym.errors import ConfigError, InfraTimeout, UsageError
from turngym.types import Completion, Message, Privileged, Turn, TurnStatus

__all__ = ["Recorder", "StepTimeout", "TokenBudget", "TurnLimit", "Wrapper"]


class Wrapper(TextEnv):
    """Forwards everything to `env`; snapshots, forks and fingerprints hold both."""

    shared = frozenset({"env"})  # its state goes in below, so that its own rules apply to it

    def __init__(self, env: TextEnv) -> None:
        self.env = env
        self.spec, self.metadata, self.render_mode = env.spec, env.metadata, env.render_mode
        self.observation_space, self.action_space = env.observation_space, env.action_space
        if env.astep is None:
            self.__dict__["astep"] = None  # as for any environment that has only step

    def before(self, action: Message) -> Message:
        """The reply that the inner environment gets."""
        return action

    def after(self, action: Message, result: StepResult) -> StepResult:
        """What the agent gets for the reply `action`."""
        return result

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Reset the inner environment."""
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Message) -> StepResult:
        """Step the inner environment between `before` and `after`."""
        action = self.before(action)
        return self.after(action, self.env.step(action))

    async def astep(self, action: Message) -> StepResult:
        """As `step`."""
        action = self.before(action)
        return self.after(action, await self.env.astep(action))

    @property
    def tools(self) -> tuple[Mapping[str, Any], ...]:  # type: ignore[override]
        """Tools of the inner environment, which may change with the task."""
        return self.env.tools

    @property
    def success_at(self) -> float:  # type: ignore[override]
        """As the inner environment."""
        return self.env.success_at

    @property
    def turn_rewards(self) -> bool | None:  # type: ignore[override]
        """As the inner environment; a wrapper that scores turns says True."""
        return self.env.turn_rewards

    @property
    def privileged(self) -> Privileged:
        """As the inner environment."""
        return self.env.privileged

    @property
    def unwrapped(self) -> TextEnv:
        """The innermost environment."""
        return self.env.unwrapped  # type: ignore[return-value]

    def tasks(self, split: str = "train") -> Sequence[str]:
        """As the inner environment."""
        return self.env.tasks(split)

    @property
    def legal_actions(self) -> tuple[str, ...]:
        """As the inner environment."""
        return self.env.legal_actions

    @property
    def has_expert(self) -> bool:
        """Of the wrapped environment."""
        return self.env.has_expert

    def expert(
        self, messages: Sequence[Message], *, noise: float = 0.0, seed: int = 0
    ) -> Message | str:
        """As the inner environment."""
        return self.env.expert(messages, noise=noise, seed=seed)

    def render(self) -> Any:
        """As the inner environment."""
        return self.env.render()

    def close(self) -> None:
        """Close the inner environment."""
        self.env.close()

    def get_state(self) -> EnvState:
        """A snapshot of the wrapper with one of the inner environment inside."""
        state = super().get_state()
        return replace(state, values={**state.values, "env": self.env.get_state()})

    def set_state(self, state: EnvState) -> None:
        """Continue from `state`, outside and inside."""
        own = dict(state.values)
        self.env.set_state(own.pop("env"))
        super().set_state(replace(state, values=own))

    def fork(self, *, seed: int | None = None) -> Self:
        """An independent copy around a fork of the inner environment."""
        twin = object.__new__(type(self))
        twin.__dict__.update({**self.__dict__, "env": self.env.fork(seed=seed)})
        twin.__dict__.update(_inside=False)
        TextEnv.set_state(twin, TextEnv.get_state(self))
        if seed is not None:
            twin._np_random, twin._np_random_seed = np_random(seed)
        return twin

    def fingerprint(self) -> str:
        """Of both states."""
        return digest((self._values(), self.env.fingerprint()))


class TurnLimit(Wrapper):
    """Truncates after `max_turns` steps."""

    def __init__(self, env: TextEnv, max_turns: int) -> None:
        super().__init__(env)
        self.max_turns = at_least_one("max_turns", max_turns)


class TokenBudget(Wrapper):
    """Truncates when the conversation, observations and replies together, has used its tokens."""

    shared = frozenset({"env", "count"})

    def __init__(self, env: TextEnv, max_tokens: int, count: Callable[[str], int]) -> None:
        """Args: count: tokens in a text, such as `lambda text: len(tokenizer.encode(text))`."""
        super().__init__(env)
        self.max_tokens, self.count = at_least_one("max_tokens", max_tokens), count
        self.tokens = 0
        """Tokens used in this episode."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Reset and count the first messages."""
        observation, info = self.env.reset(seed=seed, options=options)
        self.tokens = sum(map(self._size, observation))
        return observation, info

    def after(self, action: Message, result: StepResult) -> StepResult:
        """Count, and truncate an unfinished episode at the limit."""
        observation, reward, terminated, truncated, info = result
        self.tokens += self._size(action) + sum(map(self._size, observation))
        if self.tokens >= self.max_tokens and not terminated:
            truncated, info = True, {**info, "truncated_by": "token_budget"}
        return observation, reward, terminated, truncated, info

    def _size(self, message: Message) -> int:
        calls = "".join(call.name + json.dumps(dict(call.arguments)) for call in message.tool_calls)
        return self.count((message.reasoning or "") + message.content + calls)


class StepTimeout(Wrapper):
    """Raises InfraTimeout when a step takes longer than `seconds`.

    Python cannot stop a thread: after a timeout of a synchronous step the old step may still be
    running, so the environment is given up and every later call is refused.
    """

    def __init__(self, env: TextEnv, seconds: float) -> None:
        super().__init__(env)
        if seconds <= 0:
            raise ConfigError(f"seconds must be above 0, got {seconds}")
        self.seconds = seconds
        self.given_up = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Reset, unless the environment was given up."""
        self._refuse_if_given_up()
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Message) -> StepResult:
        """Step in a thread and wait for it at most `seconds`."""
        self._refuse_if_given_up()
        outcome: Future[StepResult] = Future()

        def work() -> None:
            try:
                outcome.set_result(self.env.step(action))
            except BaseException as error:
                outcome.set_exception(error)

        threading.Thread(target=work, daemon=True, name="turngym-step").start()
        try:
            return outcome.result(self.seconds)
        except TimeoutError as error:
            if outcome.done():
                raise  # the environment's own
            raise self._late() from error

    async def astep(self, action: Message) -> StepResult:
        """Await the inner `astep` at most `seconds`."""
        self._refuse_if_given_up()
        limit = asyncio.timeout(self.seconds)
        try:
            async with limit:
                result: StepResult = await self.env.astep(action)
                return result
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise self._late() from error

    def _late(self) -> InfraTimeout:
        self.given_up = True
        return InfraTimeout(f"a step of {type(self.unwrapped).__name__} took over {self.seconds} s")

    def _refuse_if_given_up(self) -> None:
        if self.given_up:
            raise UsageError("a step of this environment timed out: make a new one")


class Recorder(Wrapper):
    """Keeps the turns of the running episode, as rewards read them."""

    def __init__(self, env: TextEnv) -> None:
        super().__init__(env)
        self.turns: tuple[Turn, ...] = ()
        self.new: Observation = ()
        """What the agent has not answered yet."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Reset and begin a new record."""
        self.new, info = self.env.reset(seed=seed, options=options)
        self.turns = ()
        return self.new, info

    def after(self, action: Message, result: StepResult) -> StepResult:
        """Add the turn to the record."""
        observation, reward, _, _, info = result
        turn = Turn(
            seen=self.new,
            completion=Completion(message=action),
            reward=info.get("turn_reward"),
            rewards=dict(info.get("rewards", {}), step=reward),
            status=TurnStatus(info.get("status", "ok")),
            feedback=str(info.get("feedback", "")),
            info=dict(info),
        )
        self.turns, self.new = (*self.turns, turn), observation
        return result
