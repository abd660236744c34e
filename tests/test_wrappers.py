"""Wrappers keep the whole interface, their own state, and every rule of check_env."""

import asyncio
import functools
import threading
import time

import pytest

import turngym
from guess import Guess
from test_check import REPLIES, Good
from turngym.bridge import run
from turngym.envs.wrappers import Recorder, StepTimeout, TokenBudget, TurnLimit, Wrapper
from turngym.errors import InfraTimeout, UsageError
from turngym.types import ToolCall, TurnStatus, assistant


def words(text):
    return len(text.split())


def wrapped(inner):
    return Recorder(TokenBudget(StepTimeout(TurnLimit(inner(), 6), 30.0), 1_000_000, words))


@pytest.mark.parametrize("inner", [Guess, Good])
def test_four_wrappers_at_once_pass_check_env(inner):
    turngym.check_env(functools.partial(wrapped, inner), replies=REPLIES)


def test_the_interface_of_the_inner_environment_shows_through():
    env, inner = wrapped(Good), Good()
    assert env.tools == inner.tools and env.tasks("test") == inner.tasks("test")
    env.reset(seed=4)
    inner.reset(seed=4)
    assert env.privileged == inner.privileged
    assert type(env.unwrapped) is Good
    assert Wrapper(Guess()).astep is None and Wrapper(Good()).astep is not None


def test_nothing_public_of_text_env_is_left_unforwarded():
    own = {"turn", "max_turns", "shared", "in_episode"}  # of the wrapper itself
    copied = {"metadata", "observation_space", "action_space"}  # in __init__
    public = {name for name in vars(turngym.TextEnv) if not name.startswith("_")}
    assert public - own - copied - set(vars(Wrapper)) == set()


def test_the_turn_limit_truncates_and_a_termination_wins():
    env = TurnLimit(Guess(), 2)
    env.reset(seed=1)
    env.step("0")
    assert env.fork().step("0")[2:4] == (False, True)
    assert env.step(str(env.unwrapped.target))[2:4] == (True, False)
    with pytest.raises(UsageError):
        env.step("0")


def test_the_token_budget_counts_observations_replies_reasoning_and_calls():
    # "I picked a number from 1 to 100. Guess." has 9 words, "Please answer with a number." 5.
    env = TokenBudget(Guess(), 20, words)
    env.reset(seed=1)
    assert env.tokens == 9
    reply = assistant("no", [ToolCall(id="1", name="find", arguments={"a": 1})])
    *_, truncated, info = env.step(reply)
    assert env.tokens == 9 + 2 + 5 and not truncated  # "nofind{"a": 1}" is two words
    *_, truncated, info = env.step("x")
    assert env.tokens == 22 and truncated and info["truncated_by"] == "token_budget"
    env.reset(seed=1)
    assert env.tokens == 9


def test_a_fork_of_a_budget_spends_its_own_tokens():
    env = TokenBudget(Guess(), 100, words)
    env.reset(seed=1)
    twin = env.fork()
    twin.step("x")
    assert (env.tokens, twin.tokens) == (9, 15)
    assert env.fingerprint() != twin.fingerprint()


class Slow(Guess):
    """Waits until it is let go."""

    shared = frozenset({"gate"})

    def __init__(self):
        self.gate = threading.Event()

    def step(self, action):
        self.gate.wait(20)
        return super().step(action)


class SlowAsync(Guess):
    async def astep(self, action):
        await asyncio.sleep(20)


def test_a_slow_step_is_the_infrastructures_fault_and_the_environment_is_given_up():
    env = StepTimeout(Slow(), 0.05)
    env.reset(seed=0)
    start = time.perf_counter()
    with pytest.raises(InfraTimeout, match=r"Slow took over 0\.05 s"):
        env.step("1")
    assert time.perf_counter() - start < 5
    for call in (lambda: env.step("1"), env.reset):
        with pytest.raises(UsageError, match="make a new one"):
            call()
    env.unwrapped.gate.set()


def test_a_slow_astep_times_out_too():
    env = StepTimeout(SlowAsync(), 0.05)
    env.reset(seed=0)
    with pytest.raises(InfraTimeout, match="SlowAsync"):
        run(env.astep(assistant("1")))


def test_errors_of_a_step_come_through_the_timeout_unchanged():
    class Broken(Guess):
        def step(self, action):
            raise TimeoutError("the environment's own")

    env = StepTimeout(Broken(), 5.0)
    env.reset(seed=0)
    with pytest.raises(TimeoutError, match="own"):
        env.step("1")
    assert not env.given_up


def test_the_recorder_keeps_what_was_seen_said_and_paid():
    env = Recorder(Guess())
    first, _ = env.reset(seed=1)
    second, *_ = env.step("x")
    env.step(str(env.unwrapped.target))
    one, two = env.turns
    assert (one.seen, one.completion.message.content) == (first, "x")
    assert one.status == TurnStatus.INVALID_ACTION and one.rewards == {"step": 0.0}
    assert two.seen == second and two.rewards == {"step": 1.0}
    env.reset(seed=1)
    assert env.turns == ()


def test_a_wrapper_of_a_strangers_needs_only_the_hooks():
    class Polite(Wrapper):
        def before(self, action):
            return assistant(action.content.removeprefix("please "))

    env = Polite(Guess())
    env.reset(seed=1)
    assert env.step(f"please {env.unwrapped.target}")[1] == 1.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: TurnLimit(Guess(), 0),
        lambda: TokenBudget(Guess(), 0, words),
        lambda: StepTimeout(Guess(), 0),
    ],
)
def test_limits_below_one_are_refused(make):
    with pytest.raises(ValueError, match="must be"):
        make()
