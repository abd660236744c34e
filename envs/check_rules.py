"""The rules of `check_env`: each yields what it found broken, and one that raises is broken too."""

import contextlib
import json
import math
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from turngym.bridge import run
from turngym.envs.env import Observation, StepResult, TextEnv
from turngym.errors import UsageError
from turngym.types import Message, ToolCall, TurnStatus, assistant, user

__all__ = ["RULES", "Subject"]

Reply = Message | str

MALFORMED: tuple[Reply, ...] = (
    "",
    " \n\t ",
    "x" * 100_000,
    "9" * 5_000,
    "\x00\x07\x1b[31m\r",
    "👩‍🚀 \u202eright to left\ufeff",
    "a lone surrogate \ud800",
    '{"not": "closed',
    "search[click[buy now]]]]",
    assistant("", [ToolCall(id="1", name="no_such_tool")]),
    assistant("", [ToolCall(id="", name="", arguments={"": None, "deep": [1, {"x": [None]}]})]),
    Message(role="assistant", content="both", reasoning="", tool_calls=(ToolCall(id="", name=""),)),
)
"""Replies that a policy may well produce and that no environment may crash on."""

WRONG_TYPES: tuple[Any, ...] = (
    None,
    3,
    b"bytes",
    ["text"],
    {"content": "x"},
    user("not the agent"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The environment under test and how to play it."""

    maker: Callable[[], TextEnv]
    seed: int
    replies: tuple[Reply, ...]
    max_chars: int
    opened: list[TextEnv] = field(default_factory=list)
    """Copies to be closed after the rule."""

    def make(self) -> TextEnv:
        """A fresh copy."""
        self.opened.append(self.maker())
        return self.opened[-1]

    def begin(self) -> TextEnv:
        """A fresh copy at the start of an episode."""
        env = self.make()
        env.reset(seed=self.seed)
        return env

    def halfway(self) -> tuple[TextEnv, tuple[Reply, ...]]:
        """A copy one step into an episode where there is one, and the replies to come."""
        env = self.begin()
        env.step(self.replies[0])
        return (env, self.replies[1:]) if env.in_episode else (self.begin(), self.replies)

    def fork(self, env: TextEnv, seed: int | None = None) -> TextEnv:
        """A fork of `env`."""
        self.opened.append(env.fork(seed=seed))
        return self.opened[-1]

    def close(self) -> None:
        """Close every copy."""
        while self.opened:
            with contextlib.suppress(Exception):  # the rule `close` reports it
                self.opened.pop().close()


def _play(env: TextEnv, replies: Sequence[Reply]) -> list[StepResult]:
    """Steps until the episode or the replies end."""
    results: list[StepResult] = []
    for reply in replies:
        if not env.in_episode:
            break
        results.append(env.step(reply))
    return results


def _texts(results: Sequence[StepResult]) -> list[str]:
    """One comparable line per step."""
    return [f"{result[:4]} {_json(result[4])}" for result in results]


def _json(info: Mapping[str, Any]) -> str:
    return json.dumps(info, sort_keys=True, default=repr)


def _differ(what: str, one: Sequence[str], other: Sequence[str]) -> Iterator[str]:
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            yield f"{what}: step {index} gave {left[:120]} and {right[:120]}"
            return
    if len(one) != len(other):
        yield f"{what}: one episode has {len(one)} steps, the other {len(other)}"


def _roles(subject: Subject) -> Iterator[str]:
    """Observations hold messages of others, and there is something to answer."""
    env = subject.make()
    first, _ = env.reset(seed=subject.seed)
    if not first:
        yield "reset gave no message, so there is nothing to answer"
    yield from _message_faults(first)
    for observation, _, terminated, truncated, _ in _play(env, subject.replies):
        if not observation and not (terminated or truncated):
            yield "step gave no message although the episode goes on"
        yield from _message_faults(observation)


def _message_faults(observation: Observation) -> Iterator[str]:
    for message in observation:
        if message.role not in ("system", "user", "tool"):
            yield f"an observation holds a message with role {message.role!r}"
        if message.role == "tool" and message.tool_call_id is None:
            yield "a tool message has no tool_call_id"
        if not isinstance(message.content, str):
            yield f"the content of a message is {type(message.content).__name__}, not str"


def _determinism(subject: Subject) -> Iterator[str]:
    """The same seed and replies give the same episode, on a fresh copy and on a used one."""
    one, other = subject.make(), subject.make()
    first, again = one.reset(seed=subject.seed), other.reset(seed=subject.seed)
    if first != again:
        yield "two copies differ after reset with the same seed"
    played = _texts(_play(one, subject.replies))
    yield from _differ("two copies", played, _texts(_play(other, subject.replies)))
    if one.reset(seed=subject.seed) != first:
        yield "a second reset with the same seed gives other messages"
    yield from _differ("the same copy, twice", played, _texts(_play(one, subject.replies)))


def _fork(subject: Subject) -> Iterator[str]:
    """A fork repeats the future, and what it does leaves the original alone."""
    env, rest = subject.halfway()
    before = env.fingerprint()
    twin = subject.fork(env)
    if twin.fingerprint() != before:
        yield "a fork has another fingerprint than its original"
    forked = _texts(_play(twin, rest))
    if env.fingerprint() != before:
        yield "stepping a fork changed its original: they share something mutable"
    yield from _differ("fork and original", forked, _texts(_play(env, rest)))


def _fork_seed(subject: Subject) -> Iterator[str]:
    """fork(seed=) re-keys the generator and nothing else."""
    env, rest = subject.halfway()
    before = env.fingerprint()
    one, same, other = (subject.fork(env, seed) for seed in (101, 101, 102))
    if not one.fingerprint() == other.fingerprint() == before:
        yield "fork(seed=) changes the fingerprint"
    draws = [int(subject.fork(copy).np_random.integers(2**62)) for copy in (one, same, other)]
    if draws[0] == draws[2]:
        yield "forks with different seeds draw the same numbers"
    if draws[0] != draws[1]:
        yield "forks with the same seed draw different numbers"
    forked = _texts(_play(one, rest))
    yield from _differ("forks with the same seed", forked, _texts(_play(same, rest)))
    _play(other, rest)
    if env.fingerprint() != before:
        yield "stepping a fork changed its original: they share something mutable"


def _fingerprint(subject: Subject) -> Iterator[str]:
    """Equal states have equal fingerprints: in two copies, again after reset, after set_state."""
    env, other = subject.begin(), subject.begin()
    first = env.fingerprint()
    if env.fingerprint() != first:
        yield "two calls in a row differ"
    if other.fingerprint() != first:
        yield "two copies differ after the same reset"
    state = env.get_state()
    _play(env, subject.replies)
    env.set_state(state)
    if env.fingerprint() != first:
        yield "set_state(get_state()) does not bring the state back"
    _play(env, subject.replies)
    env.reset(seed=subject.seed)
    if env.fingerprint() != first:
        yield "the same reset after an episode differs: something of the old episode is left"


def _ends(subject: Subject) -> Iterator[str]:
    """Truncation is not termination; max_turns holds; nothing happens after the end."""
    env = subject.begin()
    for _, _, terminated, truncated, _ in _play(env, subject.replies):
        if terminated and truncated:
            yield "a step is terminated and truncated at once"
    short = subject.make()
    short.max_turns = 1
    short.reset(seed=subject.seed)
    *_, terminated, truncated, _ = short.step(subject.replies[0])
    if not (terminated or truncated):
        yield "max_turns = 1 does not end the episode after one step"
    try:
        short.step(subject.replies[0])
    except UsageError:
        return
    yield "step() after the end is accepted"


def _budget(subject: Subject) -> Iterator[str]:
    """No observation is longer than `max_chars`."""
    env = subject.make()
    first, _ = env.reset(seed=subject.seed)
    for observation in (first, *(result[0] for result in _play(env, subject.replies))):
        size = sum(len(message.content) for message in observation)
        if size > subject.max_chars:
            yield f"an observation has {size} characters, more than {subject.max_chars}"


_INFO_TYPES: Mapping[str, tuple[type, ...]] = {
    "outcome": (int, float),
    "success": (bool,),
    "turn_reward": (int, float),
    "rewards": (Mapping,),
    "feedback": (str,),
    "exchange": (int,),
    "anchor": (str,),
    "task_id": (str,),
}


def _info(subject: Subject) -> Iterator[str]:
    """info is JSON-safe, its known keys have their types, and it is not changed later."""
    env = subject.make()
    _, first = env.reset(seed=subject.seed)
    infos, written = [first], [_json(first)]
    yield from _info_faults(first)
    for *_, info in (env.step(reply) for reply in subject.replies if env.in_episode):
        infos.append(info)
        written.append(_json(info))
        yield from _info_faults(info)
    if [_json(info) for info in infos] != written:
        yield "an info changed after it was given: it shares something mutable with the environment"


def _info_faults(info: Any) -> Iterator[str]:
    if not isinstance(info, dict):
        yield f"info is {type(info).__name__}, not a dict"
        return
    try:
        json.dumps(info, allow_nan=False)
    except (TypeError, ValueError) as error:
        yield f"info is not JSON-safe: {error}"
    for key, kinds in _INFO_TYPES.items():
        value = info.get(key)
        if value is not None and not isinstance(value, kinds):
            yield f"info[{key!r}] is {type(value).__name__}, expected {kinds[-1].__name__}"
        elif isinstance(value, float) and not math.isfinite(value):
            yield f"info[{key!r}] is {value}"
    if info.get("status", "ok") not in list(TurnStatus):
        yield f"info['status'] is {info['status']!r}, expected one of {', '.join(TurnStatus)}"


def _malformed(subject: Subject) -> Iterator[str]:
    """Nothing that a policy says crashes the environment; wrong types give a clear error."""
    tools = [item.get("function", item).get("name", "") for item in subject.make().tools]
    odd: tuple[dict[str, Any], ...] = ({}, {"no_such_argument": 1}, {"query": None, "": {}})
    calls = [
        assistant("", [ToolCall(id="1", name=name, arguments=arguments)])
        for name in tools
        for arguments in odd
    ]
    env = subject.make()
    for reply in (*MALFORMED, *calls):
        env.reset(seed=subject.seed)
        try:
            observation, *_ = env.step(reply)
        except Exception as error:  # the finding itself
            yield f"{reply!r:.80} raised {type(error).__name__}: {str(error)[:120]}"
            continue
        if sum(len(message.content) for message in observation) > subject.max_chars:
            yield f"{reply!r:.80} gave an observation of more than {subject.max_chars} characters"
    env.reset(seed=subject.seed)
    for wrong in WRONG_TYPES:
        try:
            env.step(wrong)
        except (TypeError, ValueError):
            continue
        yield f"step({wrong!r}) is accepted; TypeError or ValueError expected"


def _pickling(subject: Subject) -> Iterator[str]:
    """A pickled copy, and a pickled state, continue as the original does."""
    env, rest = subject.halfway()
    copy, state = pickle.loads(pickle.dumps((env, env.get_state())))
    subject.opened.append(copy)
    if copy.fingerprint() != env.fingerprint():
        yield "a pickled copy has another fingerprint"
    future = _texts(_play(env, rest))
    yield from _differ("pickled copy and original", _texts(_play(copy, rest)), future)
    env.set_state(state)
    yield from _differ("pickled state and original", _texts(_play(env, rest)), future)


def _closing(subject: Subject) -> Iterable[str]:
    """close() works before reset, and twice."""
    fresh, env = subject.make(), subject.begin()
    fresh.close()
    env.close()
    env.close()
    return ()


def _privileged(subject: Subject) -> Iterator[str]:
    """What is privileged is not told to the agent in the first messages, and notes never."""
    env = subject.make()
    first, _ = env.reset(seed=subject.seed)
    secret = env.privileged
    hidden = [value for value in secret.hidden_state.values() if isinstance(value, str)]
    yield from _leaks("the first messages hold", first, [*secret.references, *hidden])
    # One action may be an example of the grammar; all of them are the solution.
    plan = secret.gold_actions
    if plan and all(any(True for _ in _leaks("", first, [action])) for action in plan):
        yield f"the first messages hold all gold actions: {', '.join(plan)[:120]}"
    for observation, *_ in _play(env, subject.replies):
        yield from _leaks("an observation holds", observation, [secret.notes])
    yield from _leaks("the first messages hold", first, [secret.notes])


def _leaks(where: str, observation: Observation, texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        # Shorter ones ("yes", "red") occur by chance.
        if len(text) >= 8 and any(text in message.content for message in observation):
            yield f"{where} the privileged text {text[:60]!r}"


def _tasks(subject: Subject) -> Iterator[str]:
    """Task ids are unique and stable, splits do not overlap, and a task can be asked for."""
    env = subject.make()
    train, test = list(env.tasks("train")), list(env.tasks("test"))
    if len(set(train)) != len(train) or train != list(subject.make().tasks("train")):
        yield "tasks('train') holds an id twice or differs between copies"
    if overlap := set(train) & set(test):
        yield f"train and test share tasks, such as {sorted(overlap)[0]!r}"
    if not train:
        return
    _, info = env.reset(seed=subject.seed, options={"task_id": train[-1]})
    if info.get("task_id") != train[-1]:
        yield f"reset to task {train[-1]!r} reports info['task_id'] = {info.get('task_id')!r}"
    try:
        env.reset(options={"task_id": "no such task"})
    except (KeyError, ValueError):
        return
    yield "an unknown task_id is accepted; UnknownNameError expected"


def _astep(subject: Subject) -> Iterator[str]:
    """astep does what step does."""
    env = subject.begin()
    if env.astep is None:
        return
    results: list[StepResult] = []
    for reply in subject.replies:
        if env.in_episode:
            results.append(run(env.astep(reply)))
    expected = _texts(_play(subject.begin(), subject.replies))
    yield from _differ("astep and step", _texts(results), expected)


RULES: Mapping[str, Callable[[Subject], Iterable[str]]] = {
    "roles": _roles,
    "determinism": _determinism,
    "fork": _fork,
    "fork_seed": _fork_seed,
    "fingerprint": _fingerprint,
    "ends": _ends,
    "budget": _budget,
    "info": _info,
    "malformed": _malformed,
    "pickling": _pickling,
    "close": _closing,
    "privileged": _privileged,
    "tasks": _tasks,
    "astep": _astep,
}
