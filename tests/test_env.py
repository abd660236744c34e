"""TextEnv: counting, truncation, forks, fingerprints."""

import pickle

import pytest

import turngym
from guess import Guess
from turngym.errors import UnknownNameError, UsageError


def test_the_turn_limit_truncates_and_survives_a_fork():
    env = Guess(max_turns=3)
    env.reset(seed=1)
    env.step("0")
    twin = env.fork()
    for copy in (env, twin):
        assert copy.step("0")[3] is False
        assert copy.step("0")[2:4] == (False, True)
        with pytest.raises(UsageError, match="reset"):
            copy.step("0")


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
