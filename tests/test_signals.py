"""Signals in a run: made because a method needs them, refused by name, saved and resumed bit by bit."""

import json
from dataclasses import replace

import pytest
import torch

import turngym
from interrupted import ctrl_c
from test_forward import episodes, model_of
from test_train import Short, config, model_path, quiet, weights  # noqa: F401  (a fixture)
from turngym.config import Config
from turngym.errors import ConfigError, UnknownNameError
from turngym.trainers import checkpoint
from turngym.trainers import explore as explore_module
from turngym.trainers import step as step_module
from turngym.trainers.batch import collate
from turngym.trainers.credit import grpo
from turngym.trainers.forward import policy_output
from turngym.trainers.measure import needed_signals
from turngym.trainers.optimizer import PolicyOptimizer
from turngym.trainers.signals import SIGNALS, Columns, Models, Signal, Suite, signal
from turngym.trainers.train import train
from turngym.types import EpisodeStatus, Privileged, TurnStatus


class Lucky(Short):
    """As Short, but half of the episodes succeed, and the answer is known."""

    def step(self, action):
        result = super().step(action)
        return (*result[:4], {"outcome": self.good / 2, "success": self.good > 0})

    @property
    def privileged(self):
        return Privileged(references=("five",))


turngym.register("test/Lucky-v0", Lucky)


def settings(path, method, *, signals=None, loss=None, **changes):
    return config(
        path,
        env={"id": "test/Lucky-v0"},
        credit={"method": method},
        signals=signals or {},
        loss=loss or {},
        evaluation={"episodes": 0},
        **changes,
    )


def metrics(folder):
    return [
        json.loads(row)["metrics"] for row in (folder / "metrics.jsonl").read_text().splitlines()
    ]


LEARNING = {
    "oprl": {"implicit_reward": {"learning_rate": 1e-3}},
    "spa": {"progress": {"learning_rate": 1e-3}, "values": {"learning_rate": 1e-3}},
    "gae_token": {"values": {"learning_rate": 1e-3, "passes": 2}},
    "oprl_late": {"implicit_reward": {"learning_rate": 1e-3, "order": "score_first"}},
}


@pytest.mark.parametrize(
    "name",
    ["oprl", "spa", *(pytest.param(n, marks=pytest.mark.slow) for n in ("gae_token", "oprl_late"))],
)
def test_an_interrupted_run_resumes_its_signals_to_the_same_bits(
    name,
    tmp_path,
    model_path,  # noqa: F811
    monkeypatch,
):
    method = name.removesuffix("_late")
    chosen = settings(model_path, method, signals=LEARNING[name], loss={"kl_coef": 0.01})
    train(chosen, tmp_path / "whole", report=quiet)
    with ctrl_c(monkeypatch, explore_module, "rollout", call=4):
        train(chosen, tmp_path / "cut", report=quiet)
    train(chosen, tmp_path / "cut", resume=True, report=quiet)
    whole, cut = (tmp_path / each / "metrics.jsonl" for each in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes()
    assert weights(tmp_path / "whole") == weights(tmp_path / "cut")
    states = [checkpoint.load_signals(checkpoint.latest(tmp_path / e)) for e in ("whole", "cut")]
    same(*states)
    assert set(states[0]) == set(LEARNING[name])


def same(one, other):
    """Equal trees, tensors bit by bit."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        for a, b in zip(one, other, strict=True):
            same(a, b)
    else:
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_without_its_state_a_signal_would_go_another_way(tmp_path, model_path, monkeypatch):  # noqa: F811
    """The test above can fail: resuming with a fresh reward model gives other numbers."""
    chosen = settings(model_path, "oprl", signals=LEARNING["oprl"])
    train(chosen, tmp_path, report=quiet)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    last = checkpoint.latest(tmp_path)
    last.rename(last.with_name("lost.draft"))
    (tmp_path / "finished.json").unlink()
    monkeypatch.setattr(checkpoint, "load_signals", lambda path: {})
    train(chosen, tmp_path, resume=True, report=quiet)
    assert (tmp_path / "metrics.jsonl").read_bytes() != before


def test_an_environment_that_cannot_feed_a_signal_is_refused_by_name(tmp_path, model_path):  # noqa: F811
    chosen = settings(model_path, "a2tgpo").model_copy(
        update={"env": config(model_path).env}  # test/Short-v0 has no references
    )
    with pytest.raises(
        ConfigError, match=r"'a2tgpo' needs the signal 'info_gain', which test/Short"
    ):
        train(chosen, tmp_path / "run", report=quiet)
    assert not (tmp_path / "run").exists()


def test_unknown_signals_and_settings_name_the_closest(tmp_path, model_path):  # noqa: F811
    with pytest.raises(UnknownNameError, match="Did you mean 'progress'"):
        train(settings(model_path, "grpo", signals={"progres": {}}), tmp_path / "a", report=quiet)
    wrong = {"info_gain": {"ig_spac": "prob"}}
    with pytest.raises(ConfigError, match="Did you mean 'ig_space'"):
        train(settings(model_path, "a2tgpo", signals=wrong), tmp_path / "b", report=quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_method_of_turn_rewards_is_refused_without_any(tmp_path, model_path):  # noqa: F811
    with pytest.raises(ConfigError, match="'mapo' learns from turn rewards, and test/Lucky"):
        train(settings(model_path, "mapo"), tmp_path / "a", report=quiet)
    stand_in = {"progress": {"as_reward": True, "learning_rate": 1e-3}}
    train(settings(model_path, "mapo", signals=stand_in, steps=2), tmp_path / "b", report=quiet)
    assert metrics(tmp_path / "b")[1]["signal/progress/error"] > 0


def test_needs_follow_the_settings():
    made = config("x", credit={"method": "spa", "advantage": "return"}, loss={"kl_coef": 0.1})
    assert needed_signals(made) == ["progress", "grounding", "reference"]


def test_kl_to_the_reference_holds_the_policy_back(tmp_path, model_path):  # noqa: F811
    far = {}
    for coef in (0.001, 10.0):
        chosen = settings(
            model_path, "grpo", loss={"kl_coef": coef, "kl": "k2"}, steps=6, checkpoint_every=6
        )
        train(chosen, tmp_path / str(coef), report=quiet)
        far[coef] = metrics(tmp_path / str(coef))[-1]["signal/reference/kl"]
        assert metrics(tmp_path / str(coef))[0]["signal/reference/kl"] == pytest.approx(0, abs=1e-4)
    assert abs(far[10.0]) < abs(far[0.001])


def test_old_logprobs_are_those_of_the_packed_forward_and_made_once(monkeypatch):
    model = model_of("llama", "sdpa")
    models = Models(policy=model, tokenizer=None, initial=lambda: model, max_tokens=12)
    done = episodes()
    batch, measured = Suite(["old_logprobs"], {}, models).measure(done, collate(done))
    whole = policy_output(model, collate(done), entropy=True)
    torch.testing.assert_close(batch.old_logprobs, whole.logprobs.detach())
    torch.testing.assert_close(batch.token_columns["entropy"], whole.entropy.detach())
    sampled = batch.turn_of_token >= 0
    gap = (whole.logprobs - batch.sampled_logprobs)[sampled].abs().mean()
    assert measured["signal/old_logprobs/engine_gap"] == pytest.approx(gap.item(), rel=1e-4)

    def never(*args):
        raise AssertionError("made twice")

    monkeypatch.setattr(step_module, "add_old_logprobs", never)
    chosen = config("x", epochs=2)
    credit = grpo(batch)
    optimizer = PolicyOptimizer(model, chosen.optimizer)
    step_module.update(model, optimizer, batch, credit, chosen, 0)


def test_grounding_is_zero_exactly_on_invalid_actions():
    done = episodes()[1:2]
    bad = replace(done[0].turns[1], status=TurnStatus.INVALID_ACTION)
    missing = replace(done[0].turns[2], status=TurnStatus.REWARD_MISSING)
    done = [replace(done[0], turns=(done[0].turns[0], bad, missing))]
    broken = replace(done[0], status=EpisodeStatus.ENV_ERROR)
    models = Models(policy=None, tokenizer=None, initial=lambda: None, max_tokens=1)
    batch, found = Suite(["grounding"], {}, models).measure(
        [*done, broken], collate([*done, broken])
    )
    assert batch.turn_columns["grounding"].tolist() == [1, 0, 1] * 2
    assert found == {"signal/grounding/mean": pytest.approx(2 / 3)}


class StrictConfig(Config):
    size: int = 1


class Second(Signal[StrictConfig]):
    """Reads what `first_of_two` left, so it must come later."""

    settings = StrictConfig
    requires = ("first_of_two",)

    def columns(self, trajectories, batch, models):
        return Columns(turn={"second": batch.turn_columns["first"] + self.config.size})


class First(Signal[StrictConfig]):
    settings = StrictConfig

    def columns(self, trajectories, batch, models):
        return Columns(turn={"first": torch.full((batch.num_turns,), float(self.config.size))})


def test_signals_of_your_own_are_made_in_order_with_their_settings():
    if "second_of_two" not in list(SIGNALS):
        signal("second_of_two")(Second)
        signal("first_of_two")(First)
    models = Models(policy=None, tokenizer=None, initial=lambda: None, max_tokens=1)
    suite = Suite(["second_of_two"], {"second_of_two": {"size": 4}}, models)
    batch, _ = suite.measure(episodes(), collate(episodes()))
    assert set(batch.turn_columns["second"].tolist()) == {5.0}
    assert suite.state_dict() == {}
