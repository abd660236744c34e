"""`turngym train swe`: optimizer steps on episodes that are played and graded in real containers."""

import json

import pytest

from swe_docker import require_docker

pytestmark = [pytest.mark.docker, pytest.mark.slow]

torch = pytest.importorskip("torch")


def test_two_optimizer_steps_through_real_containers(tmp_path):
    require_docker()
    from transformers import LlamaForCausalLM

    from turngym.agents.tiny import load_tiny
    from turngym.serial import read_jsonl
    from turngym.trainers.checkpoint import latest
    from turngym.trainers.config import load_recipe
    from turngym.trainers.train import train

    changes = ["steps=2", "groups_per_step=2", "group_size=4", "evaluation.episodes=0"]
    config = load_recipe("swe", [*changes, "threads=1", "optimizer.warmup_steps=0"])
    train(config, tmp_path / "run", report=lambda text: None)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1]
    played = [
        episode
        for step in range(2)
        for episode in read_jsonl(tmp_path / f"run/trajectories/step-{step:06d}.jsonl")
    ]
    assert len(played) == 16 and all(episode.status.counts for episode in played)
    verdicts = {turn.info["verdict"] for e in played for turn in e.turns if "verdict" in turn.info}
    assert "resolved" in verdicts and len(verdicts) > 1  # groups differ, so there is a gradient
    before, _ = load_tiny("swe")
    after = LlamaForCausalLM.from_pretrained(latest(tmp_path / "run"), dtype="float32")
    moved = [
        not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True)
    ]
    assert any(moved)
