"""The packaged tiny policy of tool use and the recipe that trains it."""

import json
import math

import pytest

from test_train import quiet
from turngym.agents.tiny import HERE, families, load_tiny
from turngym.trainers.config import PolicyConfig, load_recipe
from turngym.trainers.evaluate import evaluate
from turngym.trainers.policy import Policy
from turngym.trainers.tiny import FAMILIES
from turngym.trainers.train import train

SMALL = ["steps=2", "groups_per_step=2", "group_size=2", "evaluation.episodes=0"]


def test_the_checkpoint_loads_and_is_small():
    assert "tool_use" in families() and "tool_use" in FAMILIES
    model, tokenizer = load_tiny("tool_use")
    assert model.config.vocab_size == len(tokenizer)
    assert sum(f.stat().st_size for f in (HERE / "tool_use").iterdir()) <= 2 * 2**20


@pytest.mark.parametrize("method", ["grpo", "mapo"])
def test_the_recipe_trains_two_steps(method, tmp_path):
    run = train(
        load_recipe("tool_use", [*SMALL, f"credit.method={method}"]), tmp_path, report=quiet
    )
    lines = [json.loads(row) for row in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1] and not any(line["skipped"] for line in lines)
    assert all(math.isfinite(value) for line in lines for value in line["metrics"].values())


def test_the_supervised_start_leaves_room_on_unseen_records():
    config = load_recipe("tool_use")
    policy = Policy.load(PolicyConfig(path="tiny:tool_use"))
    found = evaluate(
        config.env.make,
        policy.agent,
        split="test",
        episodes=40,
        sampling=config.sampling.sampling(),
    )
    assert found.episodes == found.counted == 40
    assert 0.1 <= found.success.value <= 0.7


@pytest.mark.slow
def test_training_improves_it(tmp_path):
    small = ["steps=30", "evaluation.temperatures=[1.0]"]
    run = train(load_recipe("tool_use", small), tmp_path, report=quiet)
    success = {line["label"]: line["success"]["value"] for line in run.evaluations()}
    assert success["after-1"] >= success["before-1"] + 0.15
