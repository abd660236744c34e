"""DPO on stored episodes: the loss by hand, the masks, the pairs, and a margin that rises."""

import math
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from test_batch import trajectory, turn
from test_train import quiet
from turngym.agents.tiny import tiny_model
from turngym.cli import app
from turngym.errors import DataError
from turngym.serial import dumps, loads
from turngym.trainers import checkpoint
from turngym.trainers.batch import collate
from turngym.trainers.config import PolicyConfig, load_recipe
from turngym.trainers.dpo import DPOConfig, dpo, dpo_loss, pairs, trajectory_logprobs
from turngym.trainers.forward import policy_output
from turngym.trainers.policy import Policy
from turngym.trainers.train import train
from turngym.types import EpisodeStatus


def episode(words, outcome, group="g", **changes):
    """Two turns; what the agent says is `words`, everything else is the environment's."""
    first, second = words
    turns = [turn([5, 6], [first, 3], opens=True), turn([7, 8, 9], [second])]
    return replace(trajectory(turns, group=group, outcome=outcome), **changes)


def test_the_loss_by_hand():
    gains = torch.tensor([2.0, -1.0, 0.5], requires_grad=True)
    winner, loser = torch.tensor([0, 0]), torch.tensor([1, 2])
    loss, margins = dpo_loss(gains, winner, loser, 0.5)
    assert margins.tolist() == [1.5, 0.75]
    sigmoid = [1 / (1 + math.exp(-m)) for m in (1.5, 0.75)]
    assert loss.item() == pytest.approx(-sum(map(math.log, sigmoid)) / 2)
    loss.backward()
    slope = [-0.5 * (1 - s) / 2 for s in sigmoid]  # d/dm -log sigmoid(m) = -(1 - sigmoid(m))
    assert gains.grad.tolist() == pytest.approx([sum(slope), -slope[0], -slope[1]])
    far, _ = dpo_loss(torch.tensor([-1e4, 1e4]), torch.tensor([0]), torch.tensor([1]), 1.0)
    assert far.item() == 2e4  # no overflow


def test_pairs_are_successes_and_failures_of_one_group():
    broken = EpisodeStatus.ENV_ERROR
    batch = collate(
        [
            episode((1, 2), 1.0),
            episode((1, 3), 0.0),
            episode((1, 4), 0.0),
            episode((1, 5), 1.0, "h"),
            episode((1, 6), 0.0, "h", status=broken),
            episode((1, 7), 0.0, "i"),
        ]
    )
    winner, loser = pairs(batch)
    assert list(zip(winner.tolist(), loser.tolist(), strict=True)) == [(0, 1), (0, 2)]


def test_only_sampled_tokens_of_turns_in_the_loss_count():
    batch = collate([episode((1, 2), 1.0), episode((3, 4), 0.0)])
    ones = torch.ones(batch.num_tokens)
    assert trajectory_logprobs(ones, batch).tolist() == [3, 3]  # 2 + 1 of 8 tokens
    masked = replace(batch, loss_mask=torch.tensor([True, False, True, True]))
    assert trajectory_logprobs(ones, masked).tolist() == [2, 3]


def test_the_update_is_the_gradient_of_the_definition():
    """Against the loss written out for one pair, on a model of its own."""
    good, bad = episode((11, 12), 1.0), episode((13, 14), 0.0)
    model, other = tiny_model(seed=1), tiny_model(seed=1)
    rate = {"learning_rate": 1e-9, "max_grad_norm": 1e9}
    (step,) = dpo(model, [good, bad], DPOConfig(optimizer=rate, max_tokens_per_forward=8))
    assert step.loss == pytest.approx(math.log(2)) and step.margin == 0 and step.pairs == 1

    def own(ids, at):
        """Sum of log-probabilities of the tokens at `at`, by the model's own forward."""
        logprobs = other(torch.tensor([ids])).logits[0].log_softmax(-1)
        return sum(logprobs[place - 1, ids[place]] for place in at)

    at = (2, 3, 7)
    gap = own([5, 6, 11, 3, 7, 8, 9, 12], at) - own([5, 6, 13, 3, 7, 8, 9, 14], at)
    gap = 0.1 * (gap - gap.detach())
    (-torch.nn.functional.logsigmoid(gap)).backward()
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=0, atol=1e-6)


def test_the_margin_rises_and_successes_become_likelier():
    episodes = [episode((11 + k % 2, 20 + k), float(k % 2 == 0), f"g{k // 2}") for k in range(12)]
    episodes = [loads(dumps(each)) for each in episodes]  # as stored
    model = tiny_model(seed=1)
    config = DPOConfig(optimizer={"learning_rate": 1e-3}, epochs=15, groups_per_step=3, beta=0.5)
    before = policy_output(model, collate(episodes)).logprobs.detach()
    steps = dpo(model, episodes, config)
    assert len(steps) == 30 and {s.pairs for s in steps} == {3}
    assert steps[0].loss == pytest.approx(math.log(2), abs=1e-6)
    assert steps[-1].loss < 0.2 and steps[-1].margin > 2 and steps[-1].accuracy == 1
    batch = collate(episodes)
    gain = trajectory_logprobs(policy_output(model, batch).logprobs.detach() - before, batch)
    assert gain[batch.success].mean() > gain[~batch.success].mean() + 4


def test_the_same_seed_gives_the_same_steps():
    episodes = [episode((11 + k % 2, 20 + k), float(k % 2), f"g{k // 2}") for k in range(8)]
    config = DPOConfig(optimizer={"learning_rate": 1e-3}, groups_per_step=2, epochs=2)

    def run(seed):
        return dpo(tiny_model(seed=1), episodes, config.model_copy(update={"seed": seed}))

    assert run(0) == run(0) != run(1)


def test_groups_without_a_pair_are_refused_and_runs_are_not_mixed():
    alone = [episode((1, 2), 1.0), episode((1, 3), 1.0)]
    with pytest.raises(DataError, match="both a solved and an unsolved"):
        dpo(tiny_model(), alone, DPOConfig())
    # The same group name in two runs, but another start.
    other = [episode((1, 2), 1.0, fingerprint="a"), episode((1, 3), 0.0, fingerprint="b")]
    with pytest.raises(DataError, match="none|no group"):
        dpo(tiny_model(), other, DPOConfig())


RECIPE = """
steps = 1
groups_per_step = 4
group_size = 6
[env]
id = "test/Short-v0"
[policy]
path = "{path}"
[policy.lora]
rank = 2
[sampling]
max_new_tokens = 4
[evaluation]
episodes = 2
[optimizer]
learning_rate = 0
"""


def test_the_commands_learn_from_a_run_and_write_a_plain_model(tmp_path, tiny_path):
    pytest.importorskip("peft")
    recipe, played = tmp_path / "recipe.toml", tmp_path / "played"
    recipe.write_text(RECIPE.format(path=tiny_path))

    def say(*words):
        return CliRunner().invoke(app, [str(word) for word in words])

    train(load_recipe(str(recipe)), played, report=quiet)
    done = say("dpo", recipe, "--from", played, "--out", tmp_path / "dpo", "--beta", "0.5")
    assert done.exit_code == 0, done.output
    assert "step 1/1" in done.output and "margin +0.0000" in done.output
    plain = PolicyConfig(path=str(tmp_path / "dpo"))
    after, before = Policy.load(plain).model, Policy.load(PolicyConfig(path=str(tiny_path))).model
    assert any(
        not torch.equal(a, b) for a, b in zip(after.parameters(), before.parameters(), strict=True)
    )
    saved = checkpoint.latest(played)
    done = say("merge", recipe, "--checkpoint", saved, "--out", tmp_path / "plain")
    assert done.exit_code == 0, done.output
    merged = Policy.load(PolicyConfig(path=str(tmp_path / "plain"))).model
    for a, b in zip(merged.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(a, b)  # a run without a learning rate changes nothing

    for words, message in (
        (("dpo", recipe), "--from"),
        (("dpo", recipe, "--from", tmp_path, "--out", tmp_path / "x"), "no run"),
        (("dpo", recipe, "--from", played, "--out", tmp_path / "dpo"), "exists already"),
    ):
        refused = say(*words)
        assert refused.exit_code == 2 and message in refused.output
