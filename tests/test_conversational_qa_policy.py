"""The packaged tiny policy of conversational QA: it loads, it can play, and its recipe trains."""

import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from turngym.agents.hf import HFAgent  # noqa: E402
from turngym.agents.tiny import HERE, families, load_tiny  # noqa: E402
from turngym.trainers.config import load_recipe  # noqa: E402
from turngym.trainers.evaluate import evaluate  # noqa: E402
from turngym.trainers.tiny import FAMILIES  # noqa: E402
from turngym.trainers.train import train  # noqa: E402


def test_the_checkpoint_is_small_and_searches_before_it_answers():
    assert "conversational_qa" in families()
    assert sum(path.stat().st_size for path in (HERE / "conversational_qa").iterdir()) <= 2 * 10**6
    config = load_recipe("conversational_qa")
    agent = HFAgent(*load_tiny("conversational_qa"))
    played = []
    evaluate(
        config.env.make,
        agent,
        split="dev",
        episodes=24,
        sampling=config.sampling.sampling(temperature=0.0),
        on_episode=played.append,
    )
    assert all(episode.status.counts for episode in played)
    first = [episode.turns[0].info["action"] for episode in played]
    assert first.count("search") >= 20  # an untrained one writes no action at all
    assert any(episode.success for episode in played)


def test_the_recipe_trains_two_steps_from_it(tmp_path):
    small = ["steps=2", "groups_per_step=2", "group_size=4", "evaluation.episodes=4", "threads=1"]
    train(load_recipe("conversational_qa", small), tmp_path / "run", report=lambda text: None)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line) for line in lines]
    assert [step["step"] for step in steps] == [0, 1]
    for step in steps:
        assert (
            step["metrics"]["status/terminated"] + step["metrics"].get("status/truncated", 0) == 8
        )


def test_the_family_is_the_environment_of_its_recipe():
    family, recipe = FAMILIES["conversational_qa"], load_recipe("conversational_qa")
    assert recipe.policy.path == "tiny:conversational_qa"
    assert (recipe.env.id, recipe.env.model_extra) == (family.env_id, dict(family.settings))
