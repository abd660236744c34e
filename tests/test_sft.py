"""Supervised fine-tuning: learns replies, and only replies."""

import pytest
import torch

from test_batch import trajectory, turn
from test_forward import model_of
from turngym.errors import DataError
from turngym.trainers.sft import SFTConfig, best_of_groups, sft
from turngym.types import EpisodeStatus


def demos():
    return [
        trajectory([turn([5, k], [10 + k, 3], opens=True), turn([7], [20 + k, 3])])
        for k in range(1, 5)
    ]


def config(**changes):
    optimizer = {"learning_rate": 1e-2, "schedule": "cosine", "warmup_steps": 2}
    return SFTConfig(**{"steps": 60, "batch_size": 4, "optimizer": optimizer, **changes})


def test_the_model_learns_to_answer():
    model = model_of("llama", "sdpa")
    losses = sft(model, demos(), config())
    assert losses[0] > 3 and losses[-1] < 0.05


def test_gradients_come_from_replies_alone():
    model = model_of("llama", "sdpa")
    one = [trajectory([turn([5, 6, 7], [8], opens=True)])]
    before = model(torch.tensor([[5, 6, 7]])).logits.log_softmax(-1)[0]
    sft(model, one, config(steps=30))
    after = model(torch.tensor([[5, 6, 7]])).logits.log_softmax(-1)[0]
    assert after[2, 8] > -0.1
    assert before[0, 6] < -0.5 and after[0, 6] < -0.5  # the prompt itself was not learnt


def test_the_same_seed_gives_the_same_losses_and_another_seed_others():
    def run(seed):
        torch.manual_seed(0)
        return sft(model_of("llama", "sdpa"), demos(), config(steps=5, batch_size=2, seed=seed))

    assert run(0) == run(0) != run(1)


def test_nothing_to_learn_from_is_an_error():
    broken = [trajectory([], status=EpisodeStatus.ENV_ERROR)]
    with pytest.raises(DataError, match="none of 1"):
        sft(model_of("llama", "sdpa"), broken, config())


def test_raft_keeps_the_best_solved_member_of_each_group():
    def member(group, outcome, status=EpisodeStatus.TERMINATED):
        return trajectory([], group=group, outcome=outcome, status=status)

    kept = best_of_groups(
        [
            member("a", 0.5),
            member("a", 1.0),
            member("b", 0.0),
            member("c", 1.0, EpisodeStatus.JUDGE_ERROR),
        ]
    )
    assert [(t.group, t.outcome) for t in kept] == [("a", 1.0)]
