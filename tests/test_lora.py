"""Adapters by peft: they alone are trained, saved and resumed; without them the model is the old one."""

import pytest
import torch

from interrupted import ctrl_c
from test_batch import trajectory, turn
from test_train import config, quiet
from turngym.errors import ConfigError
from turngym.trainers import checkpoint
from turngym.trainers import train as train_module
from turngym.trainers.batch import collate
from turngym.trainers.config import PolicyConfig, load_recipe
from turngym.trainers.forward import policy_output
from turngym.trainers.measure import open_suite
from turngym.trainers.optimizer import PolicyOptimizer
from turngym.trainers.policy import Policy
from turngym.trainers.step import update
from turngym.trainers.train import train
from turngym.trainers.types import Credit

pytest.importorskip("peft")

LORA = {"rank": 4, "alpha": 8}


def adapted(path, **changes):
    return config(path, policy={"path": str(path), "lora": LORA, **changes})


def batch():
    return collate(
        [trajectory([turn([5, k], [10 + k, 3], opens=True), turn([7], [20, k])]) for k in range(4)]
    )


def learn(policy, settings, steps=3):
    """A few updates that surely move something."""
    data = batch()
    optimizer = PolicyOptimizer(policy.model, settings.optimizer)
    for step in range(steps):
        credit = Credit(turn=torch.linspace(-1, 2, data.num_turns))
        done = update(policy.model, optimizer, data, credit, settings, step)
        assert done.grad_norm > 0 and not done.skipped
    return optimizer


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_adapters_alone_get_gradients_and_move(tiny_path, dtype):
    settings = adapted(tiny_path, dtype=dtype)
    policy = Policy.load(settings.policy)
    before = {name: weight.clone() for name, weight in policy.model.named_parameters()}
    optimizer = learn(policy, settings)
    for name, weight in policy.model.named_parameters():
        ours = "lora_" in name
        assert weight.requires_grad == ours and (weight.grad is not None) == ours, name
        assert torch.equal(weight, before[name]) != ours, name
        assert not ours or weight.dtype == torch.float32  # so that small steps are not lost
    assert len(optimizer.weights) == sum("lora_" in name for name in before)


def test_the_reference_is_the_model_without_its_adapter(tiny_path):
    settings = config(
        tiny_path, policy={"path": str(tiny_path), "lora": LORA}, loss={"kl_coef": 0.1}
    )
    policy = Policy.load(settings.policy)
    suite = open_suite(settings, policy, ())
    assert suite.signals["reference"].model is None  # no second one in memory
    learn(policy, adapted(tiny_path))
    measured, _ = suite.measure([], batch())
    start = Policy.load(PolicyConfig(path=str(tiny_path))).model
    expected = policy_output(start, batch()).logprobs
    found = measured.token_columns["reference_logprobs"]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    now = policy_output(policy.model, batch()).logprobs
    assert (now - expected).abs().max() > 1e-3  # and the adapter is on again


def test_a_run_saves_adapters_only_and_resumes_to_the_same_bytes(tmp_path, tiny_path, monkeypatch):
    settings = adapted(tiny_path)
    train(settings, tmp_path / "whole", report=quiet)
    with ctrl_c(monkeypatch, train_module, "update", call=3):
        train(settings, tmp_path / "cut", report=quiet)
    train(settings, tmp_path / "cut", resume=True, report=quiet)
    assert (tmp_path / "whole/metrics.jsonl").read_bytes() == (
        tmp_path / "cut/metrics.jsonl"
    ).read_bytes()
    last, other = (checkpoint.latest(tmp_path / name) for name in ("whole", "cut"))
    assert last is not None and other is not None
    name = "adapter_model.safetensors"
    assert (last / name).read_bytes() == (other / name).read_bytes()
    assert not (last / "model.safetensors").exists()
    assert (last / name).stat().st_size < (tiny_path / "model.safetensors").stat().st_size / 5


def test_merged_weights_say_what_the_adapter_says(tmp_path, tiny_path):
    settings = adapted(tiny_path)
    policy = Policy.load(settings.policy)
    learn(policy, settings)
    policy.export(tmp_path / "merged")
    merged = Policy.load(PolicyConfig(path=str(tmp_path / "merged")))
    one, two = (policy_output(p.model, batch()).logprobs for p in (policy, merged))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-5)
    start = policy_output(Policy.load(PolicyConfig(path=str(tiny_path))).model, batch()).logprobs
    assert (one - start).abs().max() > 1e-3
    assert any("lora_" in name for name, _ in policy.model.named_parameters())  # still adapted


def test_adapters_without_their_settings_are_refused(tmp_path, tiny_path):
    train(adapted(tiny_path).model_copy(update={"steps": 1}), tmp_path, report=quiet)
    saved = checkpoint.latest(tmp_path)
    with pytest.raises(ConfigError, match="turngym merge"):
        Policy.load(PolicyConfig(path=str(tiny_path)), saved)


@pytest.mark.parametrize("name", ["igpo", "oprl"])
def test_recipes_with_signals_train_adapters(tmp_path, tiny_path, name):
    small = ["steps=2", "groups_per_step=2", "group_size=2", "sampling.max_new_tokens=3"]
    small += ["evaluation.episodes=0", "env.max_turns=3", "env.num_products=100"]
    settings = load_recipe(
        name, [*small, f"policy.path={tiny_path}", "policy.lora.rank=2", "rollout.max_staleness=1"]
    )
    run = train(settings, tmp_path, report=quiet)
    assert len((run.folder / "metrics.jsonl").read_text().splitlines()) == 2
