"""TextEnv: counting, truncation, forks, fingerprints."""

import copy
import pickle
import threading

import pytest

import turngym
from guess import Guess
from turngym import TextEnv
from turngym.envs.spaces import ReplySpace
from turngym.errors import DataError, EnvironmentFailure, UnknownNameError, UsageError
from turngym.types import user


def test_the_turn_limit_truncates_and_survives_a_fork():
    env = Guess(max_turns=3)
    env.reset(seed=1)
    env.step("0")
    twin = env.fork()
    for each in (env, twin):
        assert each.step("0")[3] is False
        assert each.step("0")[2:4] == (False, True)
        with pytest.raises(UsageError, match="reset"):
            each.step("0")


def test_a_right_guess_on_the_last_turn_terminates_and_does_not_truncate():
    env = Guess(max_turns=1)
    env.reset(seed=1)
    _, reward, terminated, truncated, _ = env.step(str(env.target))
    assert (reward, terminated, truncated) == (1.0, True, False)


def test_fork_without_a_seed_repeats_the_future_and_with_one_re_keys_it():
    env = Guess()
    env.reset(seed=3)
    same, other = env.fork(), env.fork(seed=9)
    assert same.fingerprint() == other.fingerprint() == env.fingerprint()
    draws = [e.np_random.integers(0, 2**62) for e in (env, same, other)]
    assert draws[0] == draws[1] != draws[2]


def test_state_survives_pickling_and_later_steps_do_not_change_it():
    env = Guess()
    env.reset(seed=3)
    state = pickle.loads(pickle.dumps(env.get_state()))
    before = env.fingerprint()
    env.step("1")
    assert env.fingerprint() != before
    env.set_state(state)
    assert env.fingerprint() == before and env.turn == 0


def test_an_unknown_id_names_the_closest():
    with pytest.raises(UnknownNameError, match=r"Did you mean 'turngym/WebShop-v0'"):
        turngym.make("turngym/WebShp-v0")


def test_a_subclass_that_calls_super_counts_each_step_once():
    class Louder(Guess):
        def step(self, action):
            return super().step(action)

    env = Louder()
    env.reset(seed=0)
    env.step("0")
    assert env.turn == 1


# --- what a subclass may do -----------------------------------------------------------------------


def test_a_fork_made_in_the_middle_of_a_step_counts_its_own_steps():
    class LooksAhead(Guess):
        def step(self, action):
            twin = self.fork()
            for _ in range(3):
                if twin.in_episode:
                    Guess.step(twin, action)
            self.seen = twin.turn
            return super().step(action)

    env = LooksAhead(max_turns=2)
    env.reset(seed=1)
    env.step("0")
    assert (env.turn, env.seen) == (1, 2)


def test_a_step_from_a_mixin_is_counted_too():
    class Says:
        def step(self, action):
            return (user(action.content),), 0.0, False, False, {}

    class Echo(Says, TextEnv):
        max_turns = 1

        def reset(self, *, seed=None, options=None):
            return (user("go"),), {}

    env = Echo()
    env.reset()
    assert env.step("hi")[3] is True


def test_an_environment_with_only_astep_has_step_too():
    class Async(TextEnv):
        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return (user("go"),), {}

        async def astep(self, action):
            return (user(action.content),), 1.0, True, False, {}

    env = Async()
    env.reset()
    observation, reward, terminated, _, _ = env.step("hi")
    assert (observation, reward, terminated) == ((user("hi"),), 1.0, True)
    assert env.turn == 1 and not env.in_episode


def test_a_subclass_that_overrides_only_step_does_not_keep_the_old_astep():
    class Both(Guess):
        async def astep(self, action):
            return self.step(action)

    class Changed(Both):
        def step(self, action):
            return (user("changed"),), 0.0, True, False, {}

    assert Both().astep is not None and Changed().astep is None


def test_a_reset_that_fails_leaves_no_episode_open():
    class Flaky(Guess):
        def reset(self, *, seed=None, options=None):
            if seed == 13:
                raise DataError("no such task")
            return super().reset(seed=seed)

    env = Flaky()
    env.reset(seed=1)
    with pytest.raises(DataError):
        env.reset(seed=13)
    with pytest.raises(UsageError):
        env.step("1")


@pytest.mark.parametrize("missing", ["reset", "step"])
def test_a_missing_method_is_named(missing):
    body = {} if missing == "reset" else {"reset": lambda self, **_: ((user("go"),), {})}
    env = type("Half", (TextEnv,), body)()
    with pytest.raises(NotImplementedError, match=f"Half must define {missing}"):
        env.reset()
        env.step("x")


@pytest.mark.parametrize(
    ("gives", "words"),
    [
        ("a string", "tuple of messages, got str"),
        ((1,), "int among them"),
        (user("x"), "got Message"),
    ],
)
def test_observations_that_are_no_messages_are_refused(gives, words):
    class Wrong(Guess):
        def step(self, action):
            return gives, 0.0, False, False, {}

    env = Wrong()
    env.reset(seed=0)
    with pytest.raises(TypeError, match=words):
        env.step("1")


@pytest.mark.parametrize("reward", [float("nan"), float("inf")])
def test_a_reward_that_is_no_number_is_the_environments_failure(reward):
    class Wrong(Guess):
        def step(self, action):
            return (user("x"),), reward, False, False, {}

    env = Wrong()
    env.reset(seed=0)
    with pytest.raises(EnvironmentFailure, match="gave the reward"):
        env.step("1")


@pytest.mark.parametrize("action", [None, 3, b"1", user("1")])
def test_a_wrong_action_is_refused_and_costs_no_turn(action):
    env = Guess()
    env.reset(seed=0)
    with pytest.raises((TypeError, ValueError), match="step takes"):
        env.step(action)
    assert env.turn == 0 and env.in_episode


# --- forks and snapshots --------------------------------------------------------------------------


class Library(Guess):
    """Shares a catalogue, keeps a log twice, and has a space of its own."""

    shared = frozenset({"catalogue"})

    def __init__(self):
        self.catalogue = {"index": threading.Lock()}  # neither copied nor fingerprinted
        self.action_space = ReplySpace(["1", "2"])

    def reset(self, *, seed=None, options=None):
        self.log = []
        self.alias = self.log
        return super().reset(seed=seed)

    def step(self, action):
        self.log.append(action.content)
        return super().step(action)


def test_forks_share_what_is_declared_and_copy_the_rest_keeping_aliases():
    env = Library()
    env.reset(seed=0)
    env.step("1")
    twin = env.fork()
    assert twin.catalogue is env.catalogue
    twin.step("2")
    assert (env.log, twin.log) == (["1"], ["1", "2"])
    assert twin.alias is twin.log


def test_deepcopy_is_a_fork_and_copies_nothing_shared():
    env = Library()
    env.reset(seed=0)
    first, second = copy.deepcopy([env, env])
    assert first is second and first is not env
    assert first.catalogue is env.catalogue and first.fingerprint() == env.fingerprint()


def test_sampling_from_a_forks_action_space_leaves_the_originals_alone():
    env = Library()
    env.reset(seed=0)
    env.action_space.seed(1)
    expected = [env.fork().action_space.sample() for _ in range(1)]
    env.fork().action_space.sample()
    assert [env.action_space.sample()] == expected
    assert env.action_space.replies == ("1", "2")


def test_a_fork_before_any_seed_repeats_the_future_too():
    env = Guess()
    env.reset()
    twin = env.fork()
    assert env.np_random.integers(2**62) == twin.np_random.integers(2**62)


def test_a_fork_reports_the_seed_of_its_generator():
    env = Guess()
    env.reset(seed=3)
    assert (env.fork().np_random_seed, env.fork(seed=9).np_random_seed) == (3, 9)
    state = env.get_state()
    env.reset(seed=4)
    env.set_state(state)
    assert env.np_random_seed == 3


def test_an_attribute_that_cannot_be_copied_is_named():
    class Locked(Guess):
        def __init__(self):
            self.handle = threading.Lock()

    env = Locked()
    env.reset(seed=0)
    with pytest.raises(TypeError, match=r"Locked\.handle cannot be copied.*`shared`"):
        env.fork()


def test_a_state_taken_before_reset_can_be_set_after_it():
    env = Guess()
    state = env.get_state()
    env.reset(seed=0)
    env.set_state(state)
    assert not env.in_episode and not hasattr(env, "target")
