"""TextEnv: the base class of every environment.

A subclass writes `reset` and `step`. Around them TextEnv seeds the generator, turns plain text into
a Message, counts turns and enforces `max_turns`; this happens once per call, in `_around_reset` and
`_around_step`, however many `super()` calls a subclass makes.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import gymnasium
import numpy as np
from gymnasium import Space
from gymnasium.utils.seeding import np_random

from turngym.bridge import run
from turngym.envs.canonical import digest
from turngym.envs.spaces import MessagesSpace, ReplySpace
from turngym.errors import ConfigError, EnvironmentFailure, UsageError
from turngym.types import Message, Privileged

__all__ = ["EnvState", "Observation", "StepResult", "TextEnv", "at_least_one"]

Observation = tuple[Message, ...]
StepResult = tuple[Observation, float, bool, bool, dict[str, Any]]

# What belongs to the object rather than to the episode.
_NOT_STATE = frozenset(
    {
        "observation_space",
        "action_space",
        "spec",
        "render_mode",
        "_np_random",
        "_np_random_seed",
        "_inside",
    }
)


@dataclass(frozen=True, slots=True)
class EnvState:
    """A snapshot of one environment, independent of it and picklable."""

    values: Mapping[str, Any]
    """Attributes of the episode, deep-copied."""
    generator: Mapping[str, Any]
    """State of the random generator; not part of the fingerprint."""
    seed: int
    """What the generator was seeded with, -1 if unknown."""


class TextEnv(gymnasium.Env[Observation, Any]):
    """A text environment: observations are the messages that are new since the last reply.

    `reset(seed=, options=)` gives `(messages, info)`; `options={"task_id": ...}` chooses a task, and
    `{"split": "test"}` where the seed chooses it from.
    `step(reply)` gives `(messages, reward, terminated, truncated, info)`.

    Keys of `info` that the rollout reads, all optional:

    - `outcome`: the task score, once known. Without it the outcome is the sum of step rewards.
    - `success`: whether the task is solved. Without it: outcome >= `success_at`.
    - `turn_reward`: the reward of this turn alone, never containing the outcome.
    - `rewards`: named parts of the reward, for reading.
    - `status`: a TurnStatus, such as `invalid_action`; `feedback`: text about this turn.
    - `exchange`: number of the user message being served; without it, user messages are counted.
    - `anchor`: hash of the observable state after this step; without it, of the messages shown.
    - `drops`: numbers of turns (from 0) whose observations later prompts show empty.
    - `task_id` (from reset): the stable id of the task.

    Everything else in `info` must be JSON-safe and is recorded with the turn. A broken part raises a
    `turngym.errors.NotTheAgentsFault`, never a reward of 0.

    Example:
        >>> class Echo(TextEnv):
        ...     def reset(self, *, seed=None, options=None):
        ...         return (user("Say hi."),), {}
        ...     def step(self, reply):
        ...         return (), float(reply.content == "hi"), True, False, {}
    """

    metadata: dict[str, Any] = {"render_modes": []}
    tools: tuple[Mapping[str, Any], ...] = ()
    """Tools the agent may call, as OpenAI function schemas."""
    shared: ClassVar[frozenset[str]] = frozenset()
    """Names of attributes that all forks share because no step changes them: catalogues, indexes."""
    success_at: float = 1.0
    """Outcome from which an episode counts as solved."""
    turn_rewards: bool | None = None
    """Whether steps give `turn_reward`; None where it depends. False lets a run that could learn
    from nothing else be refused before it begins."""
    max_turns: int | None = None
    """After this many steps an unfinished episode is truncated."""

    def __init__(self, *, max_turns: int | None = None) -> None:
        if max_turns is not None:
            self.max_turns = at_least_one("max_turns", max_turns)

    # The defaults live on the class so that a subclass need not call super().__init__().
    turn: int = 0
    """Steps taken in this episode."""
    _open: bool = False
    _inside: bool = False

    @functools.cached_property
    def observation_space(self) -> MessagesSpace:  # type: ignore[override]
        """Tuples of messages."""
        return MessagesSpace()

    @functools.cached_property
    def action_space(self) -> ReplySpace:  # type: ignore[override]
        """Assistant messages or plain text."""
        return ReplySpace()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__ and "astep" not in cls.__dict__:
            cls.astep = None  # an inherited astep would bypass the new step
        for name, around in _AROUND.items():
            method = getattr(cls, name)
            # Looked up, not taken from cls.__dict__: a mixin may have brought it.
            if method is not getattr(TextEnv, name) and not hasattr(method, "_counts"):
                wrapped = around(method)
                wrapped._counts = True
                setattr(cls, name, wrapped)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode: the first messages and an info.

        Args:
            seed: re-keys the generator; None lets it run on.
            options: `{"task_id": ...}` chooses the task, for environments that have tasks; `{"split":
                ...}` says where the seed draws it from.
        """
        if not self._inside:
            raise NotImplementedError(f"{type(self).__name__} must define reset()")
        return (), {}  # a subclass called super().reset(seed=seed): the generator is seeded already

    def step(self, action: Any) -> StepResult:
        """New messages, reward, terminated, truncated and info for the agent's reply.

        The caller may pass a Message or a str; what a subclass writes always gets a Message.

        Raises:
            UsageError: no episode is open.
            TypeError, ValueError: the action is no text and no assistant message.
        """
        if self.astep is None:
            raise NotImplementedError(f"{type(self).__name__} must define step() or astep()")
        result: StepResult = run(self.astep(action))
        return result

    astep: Any = None
    """`step` as a coroutine, or None; a subclass may define it beside `step` or instead of it."""

    @property
    def in_episode(self) -> bool:
        """Whether an episode is open, so that `step` may be called."""
        return self._open

    def tasks(self, split: str = "train") -> Sequence[str]:
        """Stable ids of the tasks in `split`; empty when tasks are drawn from the seed alone."""
        return ()

    @property
    def legal_actions(self) -> tuple[str, ...]:
        """Replies that the present state takes, for a person who plays; `...` stands for words.

        Empty where any words do. Tools need no mention: their schemas say how they are called.
        """
        return ()

    @property
    def privileged(self) -> Privileged:
        """What judges and signals may read about the current task; never shown to the agent."""
        return Privileged()

    @property
    def has_expert(self) -> bool:
        """Whether `expert` can play this environment as it is set up."""
        return type(self).expert is not TextEnv.expert

    def expert(
        self, messages: Sequence[Message], *, noise: float = 0.0, seed: int = 0
    ) -> Message | str:
        """The next reply of a scripted expert, a pure function of what an agent sees.

        Args:
            messages: the conversation so far, from the first message.
            noise: probability of a mistake at each choice; 0 plays as well as the script can.
            seed: keys the mistakes.

        Raises:
            NotImplementedError: the environment has no scripted expert.
        """
        raise NotImplementedError(f"{type(self).__name__} has no scripted expert")

    def get_state(self) -> EnvState:
        """A snapshot of the episode, independent of later steps.

        Raises:
            TypeError: an attribute cannot be copied; list it in `shared`.
        """
        generator = self.np_random  # made now if need be, so that the copy draws the same numbers
        return EnvState(
            _copied(self._values(), type(self).__name__),
            copy.deepcopy(generator.bit_generator.state),
            self.np_random_seed,
        )

    def set_state(self, state: EnvState) -> None:
        """Continue from `state`, which stays usable."""
        for name in self._values():
            del self.__dict__[name]
        self.__dict__.update(copy.deepcopy(dict(state.values)))
        bits = getattr(np.random, state.generator["bit_generator"])()
        bits.state = copy.deepcopy(dict(state.generator))
        self._np_random, self._np_random_seed = np.random.Generator(bits), state.seed

    def fork(self, *, seed: int | None = None) -> Self:
        """An independent copy at the same point.

        Args:
            seed: None repeats the same future; a number gives the copy a generator of its own.
        """
        twin = object.__new__(type(self))
        for name, value in self.__dict__.items():
            twin.__dict__[name] = copy.deepcopy(value) if isinstance(value, Space) else value
        twin._inside = False  # the copy may be made in the middle of a step
        twin.set_state(self.get_state())
        if seed is not None:
            twin._np_random, twin._np_random_seed = np_random(seed)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A fork, so that `copy.deepcopy` does not copy what is shared."""
        memo[id(self)] = twin = self.fork()
        return twin

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of the episode's state, generators excluded.

        Equal states give equal fingerprints in any process.

        Raises:
            TypeError: an attribute has no canonical form; list it in `shared` or override this.
        """
        return digest(self._values())

    def _values(self) -> dict[str, Any]:
        """The attributes that make up the episode, not copied."""
        return {
            name: value
            for name, value in self.__dict__.items()
            if name not in _NOT_STATE and name not in self.shared
        }


def at_least_one(name: str, value: int) -> int:
    """`value`, if it is an integer from 1.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} must be a whole number from 1, got {value!r}")
    return value


def _copied(values: dict[str, Any], owner: str) -> dict[str, Any]:
    try:
        return copy.deepcopy(values)  # in one call: what is referenced twice stays one object
    except TypeError as error:
        for name, value in values.items():
            try:
                copy.deepcopy(value)
            except TypeError:
                raise TypeError(
                    f"{owner}.{name} cannot be copied ({error}): name it in `shared` if no step "
                    "changes it, else override get_state and set_state"
                ) from error
        raise


def _as_message(reply: Message | str) -> Message:
    if isinstance(reply, str):
        return Message(role="assistant", content=reply)
    if not isinstance(reply, Message):
        raise TypeError(f"step takes a Message or a str, got {type(reply).__name__}: {reply!r:.80}")
    if reply.role != "assistant":
        raise ValueError(f"step takes an assistant message, got one with role {reply.role!r}")
    return reply


def _as_observation(messages: Any, where: str) -> Observation:
    if not isinstance(messages, (tuple, list)):
        raise TypeError(
            f"{where} must give a tuple of messages, got {type(messages).__name__}: {messages!r:.80}"
        )
    for message in messages:
        if not isinstance(message, Message):
            raise TypeError(f"{where} must give messages, got {type(message).__name__} among them")
    return tuple(messages)


def _around_reset(reset: Callable[..., Any]) -> Callable[..., tuple[Observation, dict[str, Any]]]:
    @functools.wraps(reset)
    def seeded(
        self: TextEnv, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        if self._inside:
            return reset(self, seed=seed, options=options)  # type: ignore[no-any-return]
        gymnasium.Env.reset(self, seed=seed)
        self._inside, self._open = True, False  # a reset that fails leaves no episode open
        try:
            observation, info = reset(self, seed=seed, options=options)
        finally:
            self._inside = False
        observation = _as_observation(observation, "reset")
        self.turn, self._open = 0, True
        return observation, info

    return seeded


def _before_step(self: TextEnv, action: Message | str) -> Message:
    if not self._open:
        raise UsageError("step() outside an episode: call reset() first, and again after an end")
    return _as_message(action)


def _after_step(self: TextEnv, result: StepResult) -> StepResult:
    observation, reward, terminated, truncated, info = result
    observation, reward = _as_observation(observation, "step"), float(reward)
    if not math.isfinite(reward):
        raise EnvironmentFailure(f"{type(self).__name__}.step gave the reward {reward}")
    self.turn += 1
    if not terminated and self.max_turns is not None and self.turn >= self.max_turns:
        truncated = True
    self._open = not (terminated or truncated)
    return observation, reward, bool(terminated), bool(truncated), info


def _around_step(step: Callable[..., Any]) -> Callable[..., StepResult]:
    @functools.wraps(step)
    def counted(self: TextEnv, action: Message | str) -> StepResult:
        if self._inside:
            return step(self, action)  # type: ignore[no-any-return]
        message = _before_step(self, action)
        self._inside = True
        try:
            result = step(self, message)
        finally:
            self._inside = False
        return _after_step(self, result)

    return counted


def _around_astep(step: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, StepResult]]:
    @functools.wraps(step)
    async def counted(self: TextEnv, action: Message | str) -> StepResult:
        if self._inside:
            return await step(self, action)  # type: ignore[no-any-return]
        message = _before_step(self, action)
        self._inside = True
        try:
            result = await step(self, message)
        finally:
            self._inside = False
        return _after_step(self, result)

    return counted


_AROUND: Mapping[str, Callable[[Any], Any]] = {
    "reset": _around_reset,
    "step": _around_step,
    "astep": _around_astep,
}
