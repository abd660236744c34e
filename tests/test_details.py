"""What a run keeps of single tokens: by hand on a small batch, and against the update itself."""

import json
import math
from dataclasses import replace

import pytest
import torch

from reports import episode
from turngym.agents.tiny import tiny_model
from turngym.trainers.batch import collate
from turngym.trainers.config import TrainConfig
from turngym.trainers.details import details
from turngym.trainers.forward import policy_output
from turngym.trainers.optimizer import PolicyOptimizer
from turngym.trainers.step import Update, update
from turngym.trainers.types import Credit, PolicyOutput
from turngym.types import EpisodeStatus


def settings(**changes):
    return TrainConfig.model_validate(
        {"env": {"id": "test/Shop-v0"}, "policy": {"path": "tiny:web_shop"}, **changes}
    )


def made(trajectories, credit, *, config=None, shift=0.0, keep=None):
    """The details of an update that moved every log-probability by `shift`."""
    batch = collate(trajectories)
    if keep is not None:
        batch = replace(batch, loss_mask=torch.tensor(keep, dtype=torch.bool))
    output = PolicyOutput(
        logprobs=batch.sampled_logprobs + shift, entropy=torch.full((batch.num_tokens,), 0.25)
    )
    done = Update(loss=0.0, grad_norm=0.0, skipped=0, metrics={}, batch=batch, output=output)
    return details(trajectories, credit, done, config or settings())


def test_by_hand():
    trajectories = [episode("a"), episode("b")]  # two turns of three tokens each
    credit = Credit(
        turn=torch.tensor([0.1, -0.2, 3.0, 0.0]),
        clip_scale=torch.tensor([1.0, 1.0, 0.5, 2.0]),
        weight=torch.arange(20.0),  # 5 tokens a turn: two of the prompt, three of the reply
    )
    config = settings(loss={"low": 0.2, "high": 0.4}, details_per_step=1)
    (kept,) = made(trajectories, credit, config=config, shift=math.log(2), keep=[1, 1, 0, 1])
    assert kept.episode == "b"  # the largest credit of a turn
    first, second = kept.turns
    assert (first.low, first.high) == (0.9, 1.2) and (second.low, second.high) == (0.6, 1.8)
    assert first.trained == (0, 0, 0) and second.trained == (1, 1, 1)
    assert second.turn_ratio == 2.0 and first.clipped == 0.0
    assert first.ratio == (2.0, 2.0, 2.0) and first.entropy == (0.25, 0.25, 0.25)
    assert first.weight == (12.0, 13.0, 14.0) and second.weight == (17.0, 18.0, 19.0)


@pytest.mark.parametrize(
    ("level", "clipped"),
    # Advantage +1, ratios 1.5, 1.5, 0.5 and range [0.8, 1.28]: two of three tokens are clipped above.
    # exp(mean log) = 1.125^(1/3) = 1.04 lies in the range, so the turn as a whole is not.
    [("token", 2 / 3), ("turn", 0.0), ("sequence", 0.0)],
)
def test_clipping_is_at_the_level_of_the_ratio(level, clipped):
    one = episode("a", replies=("x",))
    moves = torch.tensor([0.0, 0.0, math.log(1.5), math.log(1.5), math.log(0.5)])
    config = settings(loss={"ratio": level, "high": 0.28})
    (kept,) = made([one], Credit(turn=torch.ones(1)), config=config, shift=moves)
    assert kept.turns[0].clipped == pytest.approx(clipped, abs=1e-5)
    assert kept.turns[0].turn_ratio == pytest.approx(1.125 ** (1 / 3), abs=1e-5)


def test_the_largest_credit_first_of_equal_ones_the_first_and_foreign_failures_never():
    broken = episode("c", None, status=EpisodeStatus.ENV_ERROR, success=None)
    trajectories = [episode("a"), episode("b"), broken, episode("d")]
    credit = Credit(turn=torch.tensor([1.0, 0, 1.0, 0, 9.0, 0, -2.0, 0]))
    kept = made(trajectories, credit, config=settings(details_per_step=3))
    assert [each.episode for each in kept] == ["d", "a"]
    assert made(trajectories, credit, config=settings(details_per_step=0)) == []


def test_a_turn_without_tokens_is_kept_empty():
    trajectory = episode("a")
    silent = replace(trajectory.turns[0].completion, reply_ids=[], reply_logprobs=[])
    first = replace(trajectory.turns[0], completion=silent)
    batch = collate([replace(trajectory, turns=(first, trajectory.turns[1]))], trained=False)
    output = PolicyOutput(logprobs=batch.sampled_logprobs, entropy=batch.sampled_logprobs)
    done = Update(loss=0.0, grad_norm=0.0, skipped=0, metrics={}, batch=batch, output=output)
    (kept,) = details([trajectory], Credit(turn=torch.ones(2)), done, settings())
    assert [len(turn.ratio) for turn in kept.turns] == [0, 3]


@pytest.mark.parametrize("mini_batches", [1, 3])
def test_the_update_says_what_the_policy_said_of_every_token(mini_batches):
    """A mini-batch whose tokens land in another place would show here."""
    trajectories = [
        episode(str(i), replies=tuple("abc"[: 1 + i % 3]), group=str(i // 2)) for i in range(5)
    ]
    batch = collate(trajectories)
    model = tiny_model(seed=1)
    config = settings(mini_batches=mini_batches, optimizer={"learning_rate": 1e-12})

    optimizer = PolicyOptimizer(model, config.optimizer)
    credit = Credit(turn=torch.linspace(-1, 1, batch.num_turns))
    done = update(model, optimizer, batch, credit, config, 0)
    with torch.no_grad():
        expected = policy_output(model, batch, entropy=True)
    ours = batch.turn_of_token >= 0
    torch.testing.assert_close(done.output.logprobs[ours], expected.logprobs[ours])
    torch.testing.assert_close(done.output.entropy[ours], expected.entropy[ours])
    for each in details(trajectories, credit, done, config):
        json.dumps([turn.ratio for turn in each.turns], allow_nan=False)
