"""RAFT: what is imitated, and that it is supervised fine-tuning on just that."""

import pytest
import torch

from test_batch import trajectory, turn
from test_train import config
from turngym.agents.tiny import tiny_model
from turngym.trainers.batch import collate
from turngym.trainers.credit import CREDITS, RaftConfig
from turngym.trainers.forward import policy_output
from turngym.trainers.optimizer import PolicyOptimizer
from turngym.trainers.sft import best_of_groups
from turngym.trainers.step import update
from turngym.types import EpisodeStatus


def member(group, outcome, word, status=EpisodeStatus.TERMINATED):
    turns = [turn([5, word], [10 + word, 3], opens=True), turn([7], [20 + word])]
    return trajectory(turns, group=group, outcome=outcome, status=status)


EPISODES = [
    member("a", 0.5, 1),
    member("a", 1.0, 2),
    member("a", 0.0, 3),
    member("b", 0.0, 4),
    member("b", 0.0, 5),
    member("c", 1.0, 6),
    member("c", 1.0, 7),
    member("c", 1.0, 8, EpisodeStatus.JUDGE_ERROR),
]


@pytest.mark.parametrize(
    ("keep", "expected"),
    [("best", [0, 1, 0, 0, 0, 0.5, 0.5, 0]), ("solved", [1, 1, 0, 0, 0, 1, 1, 0])],
)
def test_credit_by_hand(keep, expected):
    batch = collate(EPISODES)
    credit = CREDITS["raft"](batch, RaftConfig(keep=keep))
    assert credit.turn.view(-1, 2)[:, 0].tolist() == credit.turn.view(-1, 2)[:, 1].tolist()
    assert credit.turn.view(-1, 2)[:, 0].tolist() == expected


def test_on_policy_it_is_supervised_fine_tuning_on_the_best():
    episodes = EPISODES[:6]
    batch = collate(episodes)
    model, other = tiny_model(seed=1), tiny_model(seed=1)
    with torch.no_grad():  # on policy: the ratio is 1
        batch = batch.__class__(
            **{n: getattr(batch, n) for n in batch.__dataclass_fields__}
            | {"sampled_logprobs": policy_output(model, batch).logprobs}
        )
    settings = config("x", optimizer={"max_grad_norm": 1e9})
    optimizer = PolicyOptimizer(model, settings.optimizer)
    update(model, optimizer, batch, CREDITS["raft"](batch), settings, 0)
    kept = best_of_groups(episodes)
    assert [t.outcome for t in kept] == [1.0, 1.0]
    tokens = 6 * 3  # every trained token of the step divides
    (-policy_output(other, collate(kept)).logprobs.sum() / tokens).backward()
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=0, atol=1e-6)
