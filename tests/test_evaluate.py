"""Evaluation counts what is the agent's and only that."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import turngym
from guess import Guess
from test_rollout import Always, Bisect, fail
from turngym.envs.wrappers import Wrapper
from turngym.errors import ConfigError, InfraFailure, NotTheAgentsFault
from turngym.trainers.config import TrainConfig
from turngym.trainers.evaluate import evaluate, pass_rates
from turngym.trainers.examine import examine_expert
from turngym.trainers.expert import expert_script
from turngym.trainers.intervals import (
    clustered_mean,
    clustered_share,
    pass_at,
    pass_hat,
    wilson,
)
from turngym.trainers.run import Run
from turngym.types import Completion, Message, Sampling


def test_wilson_matches_published_values():
    # Newcombe 1998 (Statistics in Medicine 17), table I: 81/263, 15/148, 0/20, 1/29.
    for successes, trials, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        found = wilson(successes, trials)
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 400), st.data())
def test_an_interval_holds_its_estimate(trials, data):
    # Rounding once put the lower bound of 0 of 6 above 0, which no plot could draw.
    found = wilson(data.draw(st.integers(0, trials)), trials)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_failures_of_others_do_not_enter_the_success_rate():
    made = []

    def make():
        made.append(None)  # the first one is asked for its tasks only
        return Always(fail(InfraFailure("down"))) if len(made) == 2 else Always()

    result = evaluate(make, Bisect(), split="test", episodes=4, sampling=Sampling())
    assert (result.episodes, result.counted) == (4, 3)
    assert result.success.value == 1.0 and result.statuses == {"infra_error": 1, "terminated": 3}


def test_the_same_seed_plays_the_same_tasks():
    def figures(seed):
        done = []
        evaluate(
            Guess,
            Bisect(),
            split="test",
            episodes=5,
            sampling=Sampling(),
            seed=seed,
            on_episode=lambda t: done.append((t.episode, t.fingerprint)),
        )
        return sorted(done)

    assert figures(0) == figures(0) != figures(1)


def test_episodes_that_all_broke_are_an_error_that_names_the_cause():
    with pytest.raises(NotTheAgentsFault, match="none of 2.*InfraFailure: down"):
        evaluate(
            lambda: Always(fail(InfraFailure("down"))),
            Bisect(),
            split="test",
            episodes=2,
            sampling=Sampling(),
        )


def test_an_expert_is_asked_for_only_where_there_is_one():
    shop = turngym.make("turngym/WebShop-v0", size="demo")
    assert expert_script(Wrapper(shop))
    # What counts is whether this environment can be played, not whether its class has the method.
    tools = turngym.make("turngym/ConversationalQA-v0", protocol="tools")
    for env in (Guess(), Wrapper(Guess()), tools, Wrapper(tools)):
        with pytest.raises(ConfigError, match="has no scripted expert"):
            expert_script(env)


def test_a_run_goes_on_where_no_expert_can_play(tmp_path):
    settings = {"env": {"id": "turngym/ConversationalQA-v0", "protocol": "tools"}}
    config = TrainConfig.model_validate({**settings, "policy": {"path": "unused"}})
    run = Run.start(tmp_path, config)
    examine_expert(run, print)
    assert run.evaluations() == []


def test_pass_at_k_and_pass_hat_k_by_hand():
    # 5 attempts, 2 solved. Pairs: 10; both unsolved: C(3,2) = 3; both solved: C(2,2) = 1.
    assert pass_at(2, 5, 2) == pytest.approx(1 - 3 / 10)
    assert pass_hat(2, 5, 2) == pytest.approx(1 / 10)
    # Triples: 10; all unsolved: C(3,3) = 1; three solved: none.
    assert pass_at(3, 5, 2) == pytest.approx(9 / 10)
    assert pass_hat(3, 5, 2) == 0
    assert pass_at(1, 5, 2) == pass_hat(1, 5, 2) == pytest.approx(2 / 5)
    assert pass_at(4, 4, 0) == 0 and pass_hat(4, 4, 4) == 1


@given(st.integers(1, 6), st.integers(0, 6), st.data())
def test_pass_rates_are_means_over_all_subsets(attempts, solved, data):
    solved = min(solved, attempts)
    k = data.draw(st.integers(1, attempts))
    drawn = list(combinations([True] * solved + [False] * (attempts - solved), k))
    assert pass_at(k, attempts, solved) == pytest.approx(sum(map(any, drawn)) / len(drawn))
    assert pass_hat(k, attempts, solved) == pytest.approx(sum(map(all, drawn)) / len(drawn))


def test_pass_rates_leave_out_tasks_with_too_few_counted_attempts():
    # Two tasks of four attempts, one of which lost one to a failure that is not the agent's.
    two, four = pass_rates([(4, 2), (3, 3)])
    assert (two.k, two.tasks, four.k, four.tasks) == (2, 2, 4, 1)
    assert two.at.value == pytest.approx((5 / 6 + 1) / 2)  # 1 - C(2,2) / C(4,2), and 1
    assert two.hat.value == pytest.approx((1 / 6 + 1) / 2)
    assert (four.at.value, four.hat.value) == (1.0, 0.0)
    assert pass_rates([(1, 1), (1, 0)]) == ()


def test_one_attempt_per_task_gives_the_textbook_intervals():
    share = clustered_share([[1.0]] * 81 + [[0.0]] * (263 - 81))
    assert (share.low, share.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe
    mean = clustered_mean([[1.0], [2.0], [3.0], [6.0]])
    # variance of 1, 2, 3, 6 is 14/3: standard error sqrt(14/12)
    assert mean.high - mean.value == pytest.approx(1.959964 * math.sqrt(14 / 12))


def test_attempts_that_are_copies_add_nothing():
    once = clustered_share([[1.0], [0.0], [0.0], [1.0], [1.0]])
    copied = clustered_share([[x] * 8 for x in (1.0, 0.0, 0.0, 1.0, 1.0)])
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))
    all_solved = clustered_share([[1.0] * 8] * 5)
    assert (all_solved.low, all_solved.high) == pytest.approx((0.5655, 1.0), abs=1e-4)  # 5 of 5


def test_intervals_hold_what_they_promise_where_tasks_differ():
    # Tasks whose chances are beta(0.5, 0.5): a naive interval over all attempts is far too narrow.
    generator = np.random.default_rng(0)
    clustered = naive = 0
    for _ in range(400):
        chances = generator.beta(0.5, 0.5, size=40)
        solved = [(generator.random(8) < chance).astype(float).tolist() for chance in chances]
        share = clustered_share(solved)
        flat = wilson(share.value * 320, 320)
        clustered += share.low <= 0.5 <= share.high
        naive += flat.low <= 0.5 <= flat.high
    assert clustered >= 0.92 * 400
    assert naive < 0.8 * 400


def test_several_attempts_start_alike_and_differ():
    class Guesser:
        async def act(self, context, *, sampling, seed):
            return Completion(message=Message(role="assistant", content=str(seed % 100 + 1)))

    done = []
    found = evaluate(
        Guess,
        Guesser(),
        split="test",
        episodes=3,
        attempts=4,
        sampling=Sampling(),
        on_episode=done.append,
    )
    assert (found.episodes, found.tasks) == (12, 3)
    assert [rate.k for rate in found.passes] == [2, 4]
    for group in {t.group for t in done}:
        members = [t for t in done if t.group == group]
        assert len({t.fingerprint for t in members}) == 1
        assert len({t.turns[0].completion.message.content for t in members}) > 1
