"""Evaluation counts what is the agent's and only that."""

import pytest

import turngym
from guess import Guess
from test_rollout import Always, Bisect, fail
from turngym.envs.wrappers import Wrapper
from turngym.errors import ConfigError, InfraFailure, NotTheAgentsFault
from turngym.trainers.config import TrainConfig
from turngym.trainers.evaluate import evaluate, wilson
from turngym.trainers.examine import examine_expert
from turngym.trainers.expert import expert_script
from turngym.trainers.run import Run
from turngym.types import Sampling


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
