"""Every recipe is short, parses, and trains for two steps with the signals that its method reads."""

import json
import math

import pytest

from test_train import quiet
from turngym.agents.tiny import tiny_model, tiny_tokenizer
from turngym.trainers.config import load_recipe, recipe_names, recipe_path
from turngym.trainers.measure import needed_signals
from turngym.trainers.train import train

SIGNALS = {
    "a2tgpo": ["info_gain"],
    "dapo": [],
    "dr_grpo": [],
    "gigpo": ["reference"],
    "grpo": ["reference"],
    "gspo": [],
    "igpo": ["info_gain", "reference"],
    "mapo": [],
    "mica": [],
    "oprl": ["implicit_reward"],
    "ppo": ["values"],
    "raft": [],
    "reinforce_pp": ["reference"],
    "rloo": [],
    "spa": ["progress", "grounding", "values"],
}
MEASURED = {
    "a2tgpo": "signal/info_gain/turns",
    "igpo": "signal/info_gain/level",
    "mapo": "signal/progress/loss",
    "mica": "signal/progress/loss",
    "oprl": "signal/implicit_reward/pairs",
    "ppo": "signal/values/explained",
    "spa": "signal/values/loss",
}
SMALL = [
    "steps=2",
    "groups_per_step=2",
    "group_size=2",
    "sampling.max_new_tokens=3",
    "evaluation.episodes=0",
    "env.max_turns=3",
    "env.num_products=100",
]


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tiny_model(seed=3).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


@pytest.mark.parametrize("name", sorted(SIGNALS))
def test_a_recipe_trains(name, tmp_path, model_path):
    config = load_recipe(name, [*SMALL, f"policy.path={model_path}"])
    assert needed_signals(config) == SIGNALS[name]
    run = train(config, tmp_path, report=quiet)
    lines = [json.loads(row) for row in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1]
    for line in lines:
        assert not line["skipped"]
        assert all(math.isfinite(value) for value in line["metrics"].values())
        assert all(f"signal/{s}/" in " ".join(line["metrics"]) for s in SIGNALS[name])
        assert name not in MEASURED or MEASURED[name] in line["metrics"]
    if "reference" in SIGNALS[name]:
        assert lines[0]["metrics"]["signal/reference/kl"] == pytest.approx(0, abs=1e-4)


def test_every_algorithm_has_its_recipe():
    assert set(SIGNALS) <= set(recipe_names())


def test_a_recipe_can_be_moved_to_another_place(tmp_path):
    place = tmp_path / "place.toml"
    place.write_text(
        'seed = 7\n[env]\nid = "turngym/EmotionalSupport-v0"\npreset = "demo"\n'
        '[policy]\npath = "elsewhere"\n[sampling]\nmax_new_tokens = 9\n'
        '[credit]\nmethod = "rloo"\n[optimizer]\nlearning_rate = 1.0\n'
    )
    moved, home = load_recipe("mapo", ["steps=3"], on=str(place)), load_recipe("mapo")
    assert moved.env.id == "turngym/EmotionalSupport-v0"
    assert moved.env.model_extra == {"preset": "demo"}
    assert (moved.policy.path, moved.sampling.max_new_tokens) == ("elsewhere", 9)
    assert (moved.seed, moved.steps) == (home.seed, 3)
    assert moved.credit == home.credit and moved.optimizer == home.optimizer
    assert moved.signals == home.signals


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_fits_one_screen(name):
    lines = recipe_path(name).read_text().splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 110
    assert lines[0].startswith("# ") and any(f"turngym train {name}" in line for line in lines)
