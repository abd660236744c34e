"""The packaged tiny policy of emotional support and the recipe that trains it."""

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
    assert "emotional_support" in families() and "emotional_support" in FAMILIES
    model, tokenizer = load_tiny("emotional_support")
    assert model.config.vocab_size == len(tokenizer)
    assert sum(f.stat().st_size for f in (HERE / "emotional_support").iterdir()) <= 2 * 2**20


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["credit.method=mapo"],
        ["credit.method=mapo", "signals.follow_up.as_reward=true"],
        [
            "rewards.terminal_emotion=1",
            "rewards.emotion_potential=1",
            "rewards.repetition_guard=0.2",
        ],
    ],
    ids=["grpo", "mapo", "mapo on follow-ups", "rewards by name"],
)
def test_the_recipe_trains_two_steps(overrides, tmp_path):
    config = load_recipe("emotional_support", [*SMALL, *overrides])
    run = train(config, tmp_path, report=quiet)
    lines = [json.loads(row) for row in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1] and not any(line["skipped"] for line in lines)
    assert all(math.isfinite(value) for line in lines for value in line["metrics"].values())
    assert all(line["grad_norm"] > 0 for line in lines)


def test_the_supervised_start_leaves_room_on_unseen_people():
    config = load_recipe("emotional_support")
    policy = Policy.load(PolicyConfig(path="tiny:emotional_support"))
    found = evaluate(
        config.env.make,
        policy.agent,
        split="test",
        episodes=config.evaluation.episodes,
        sampling=config.sampling.sampling(),
    )
    assert found.episodes == found.counted == 68
    assert 0.15 <= found.success.value <= 0.65


@pytest.mark.slow
def test_training_improves_it(tmp_path):
    small = ["steps=20", "evaluation.temperatures=[1.0]"]
    run = train(load_recipe("emotional_support", small), tmp_path, report=quiet)
    success = {line["label"]: line["success"]["value"] for line in run.evaluations()}
    assert success["after-1"] >= success["before-1"] + 0.15
