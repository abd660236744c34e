"""bf16 with fp32 weights in the optimizer, gradient checkpointing, accumulation, learning rates."""

import json
import math

import pytest
import torch

from interrupted import ctrl_c
from test_batch import trajectory, turn
from test_train import config, quiet
from turngym.agents.tiny import tiny_model
from turngym.trainers import checkpoint
from turngym.trainers import train as train_module
from turngym.trainers.batch import collate
from turngym.trainers.config import OptimizerConfig, PolicyConfig, load_recipe
from turngym.trainers.measure import open_suite
from turngym.trainers.optimizer import PolicyOptimizer, learning_rate
from turngym.trainers.policy import Policy, blocks
from turngym.trainers.step import update
from turngym.trainers.train import train
from turngym.trainers.types import Credit


def batch(count=6):
    return collate(
        [
            trajectory([turn([5, k], [10 + k] * (k + 1), opens=True), turn([7], [20, k])])
            for k in range(count)
        ]
    )


def one_update(model, **changes):
    """Gradient norm and optimizer after one step."""
    settings = config("x", **changes)
    data = batch()
    optimizer = PolicyOptimizer(model, settings.optimizer)
    credit = Credit(turn=torch.linspace(-1, 2, data.num_turns))
    done = update(model, optimizer, data, credit, settings, 0)
    assert not done.skipped
    return done, optimizer


def test_small_steps_add_up_behind_a_bf16_model():
    # A weight of 1 in bf16 has neighbours at 1/128 and 1/256: a step of 1e-4 is rounded away.
    weight = torch.nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    torch.nn.init.ones_(weight.weight)
    optimizer = PolicyOptimizer(weight, OptimizerConfig(learning_rate=1e-4))
    for _ in range(100):
        optimizer.zero_grad()
        weight(torch.ones(1, 1, dtype=torch.bfloat16)).sum().backward()
        assert optimizer.clip(10.0) == 1.0
        optimizer.step()
    assert weight.weight.dtype == torch.bfloat16
    assert optimizer.weights[0].item() == pytest.approx(0.99, abs=1e-4)
    assert weight.weight.item() == pytest.approx(0.99, abs=2**-9)
    plain = torch.ones(1, dtype=torch.bfloat16)
    for _ in range(100):
        plain -= 1e-4
    assert float(plain) == 1.0  # what would have become of it


def test_bf16_gradients_are_added_up_in_fp32():
    weight = torch.nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    optimizer = PolicyOptimizer(weight, OptimizerConfig())
    for size in [256.0] + [0.5] * 64:  # 256 + 0.5 is 256 in bf16
        weight(torch.full((1, 1), size, dtype=torch.bfloat16)).sum().backward()
    assert optimizer.clip(1e9) == 256 + 32
    assert weight.weight.grad is None  # no second copy


def test_a_bf16_run_resumes_to_the_same_bytes(tmp_path, tiny_path, monkeypatch):
    settings = config(
        tiny_path,
        policy={"path": str(tiny_path), "dtype": "bfloat16"},
        optimizer={"learning_rate": 1e-5},
    )
    train(settings, tmp_path / "whole", report=quiet)
    with ctrl_c(monkeypatch, train_module, "update", call=3):
        train(settings, tmp_path / "cut", report=quiet)
    train(settings, tmp_path / "cut", resume=True, report=quiet)
    found = [checkpoint.latest(tmp_path / name) for name in ("whole", "cut")]
    folders = [folder for folder in found if folder is not None]
    files = [(folder / "model.safetensors").read_bytes() for folder in folders]
    assert files[0] == files[1]
    masters = [checkpoint.load_optimizer(folder)["masters"] for folder in folders]
    assert masters[0] and all(torch.equal(masters[0][k], masters[1][k]) for k in masters[0])
    rows = (tmp_path / "whole/metrics.jsonl").read_text().splitlines()
    assert json.loads(rows[0])["metrics"]["turn0/ratio_p95"] == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("name", ["oprl", "ppo"])
def test_models_beside_a_bf16_policy_learn_in_small_steps(tmp_path, tiny_path, name):
    """A critic or reward model of its own is a bf16 model, too, and would stand still."""
    small = ["steps=2", "groups_per_step=2", "group_size=3", "sampling.max_new_tokens=8"]
    small += ["evaluation.episodes=0", "env.max_turns=3", "env.num_products=100"]
    signal = {"oprl": "implicit_reward", "ppo": "values"}[name]
    rate = f"signals.{signal}.learning_rate=1e-6"
    chosen = load_recipe(name, [*small, f"policy.path={tiny_path}", "policy.dtype=bfloat16", rate])
    model = Policy.load(chosen.policy)
    suite = open_suite(chosen, model, ())
    learner = suite.signals[signal].learner
    before = [w.clone() for w in learner.optimizer.weights]
    assert {w.dtype for w in before} == {torch.float32}
    for weight in learner.model.parameters():
        (weight.sum() / 1e3).backward()
    learner.step(0.0)
    moved = [(a - b).abs().max() for a, b in zip(before, learner.optimizer.weights, strict=True)]
    assert all(0 < distance < 1e-5 for distance in moved)
    run = train(chosen, tmp_path, report=quiet)  # and the whole loop runs
    assert len((run.folder / "metrics.jsonl").read_text().splitlines()) == 2


def test_gradient_checkpointing_computes_again_and_changes_nothing(tiny_path, monkeypatch):
    norms, counts = [], []
    for again in (False, True):
        settings = PolicyConfig(path=str(tiny_path), gradient_checkpointing=again)
        model = Policy.load(settings).model
        seen = []
        first = next(blocks(model))
        first.input_layernorm.register_forward_hook(lambda *_, seen=seen: seen.append(0))
        done, _ = one_update(model)
        norms.append([p.grad.clone() for p in model.parameters()])
        counts.append(len(seen))
    assert counts[1] == 2 * counts[0]  # once forward, once in the backward pass
    for one, two in zip(*norms, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("aggregation", ["token-mean", "seq-mean-token-mean"])
def test_accumulating_over_micro_batches_changes_nothing(aggregation):
    grads = []
    for most in (4, 4096):  # one trajectory at a time, or all at once
        model = tiny_model(seed=1)
        loss = {"aggregation": aggregation}
        one_update(model, max_tokens_per_forward=most, loss=loss)
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(*grads, rtol=0, atol=1e-6)
    assert grads[0].abs().max() > 1e-3


def test_learning_rates_by_hand():
    rate = {"learning_rate": 1.0, "warmup_steps": 2, "final_fraction": 0.2}
    courses = {
        "constant": [0.5, 1, 1, 1, 1, 1],
        "linear": [0.5, 1, 1, 0.8, 0.6, 0.4],
        "cosine": [0.5, 1, 1, 0.2 + 0.4 * (1 + math.sqrt(0.5)), 0.6, 0.6 - 0.4 * math.sqrt(0.5)],
    }
    for schedule, expected in courses.items():
        chosen = OptimizerConfig(schedule=schedule, **rate)
        assert [learning_rate(chosen, step, 6) for step in range(6)] == pytest.approx(expected)


def test_the_schedule_reaches_the_optimizer(tmp_path, tiny_path):
    settings = config(
        tiny_path,
        evaluation={"episodes": 0},
        optimizer={"learning_rate": 1e-3, "schedule": "linear", "final_fraction": 0.0},
    )
    train(settings, tmp_path, report=quiet)
    rows = [json.loads(row) for row in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [r["learning_rate"] for r in rows] == pytest.approx([1e-3, 7.5e-4, 5e-4, 2.5e-4])
    groups = checkpoint.load_optimizer(checkpoint.latest(tmp_path))["param_groups"]
    assert [group["lr"] for group in groups] == pytest.approx([2.5e-4] * 2)
