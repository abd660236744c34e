"""What each of two processes does in test_shard: started by torchrun, exits 0 if all is well."""

import copy
import random
import sys
from dataclasses import replace

import torch
from torch.distributed.tensor import DTensor

from test_batch import trajectory, turn
from turngym.agents.tiny import tiny_model
from turngym.trainers.batch import collate
from turngym.trainers.config import TrainConfig
from turngym.trainers.optimizer import PolicyOptimizer, whole
from turngym.trainers.shard import Ranks
from turngym.trainers.step import add_old_logprobs, update
from turngym.trainers.team import Team
from turngym.trainers.types import Credit
from turngym.types import EpisodeStatus

TOLERANCE = 1e-5


def episodes(count):
    """Groups of two, of very different lengths; one member broke through no fault of the agent."""
    draw = random.Random(5)
    words = lambda n: [draw.randrange(500) for _ in range(n)]  # noqa: E731
    made = []
    for index in range(count):
        turns = [
            turn(words(3 + 9 * index), words(2 + 7 * (index % 3)), opens=t == 0, reward=0.5)
            for t in range(1 + index % 3)
        ]
        status = EpisodeStatus.ENV_ERROR if index == 4 else EpisodeStatus.TERMINATED
        made.append(
            trajectory(turns, group=f"g{index // 2}", status=status, outcome=float(index % 2))
        )
    return made


def settings(**changes):
    return TrainConfig.model_validate(
        {
            "env": {"id": "x"},
            "policy": {"path": "x"},
            "loss": {"aggregation": "seq-mean-token-mean"},
            # AdamW's first step has the size of the rate even where the gradient is rounding noise.
            "optimizer": {"learning_rate": 3e-4, "max_grad_norm": 0.5},
            "max_tokens_per_forward": 64,
            **changes,
        }
    )


def check(ranks, config, count):
    """The update of the team equals that of one process."""
    batch = add_old_logprobs(tiny_model(seed=1), collate(episodes(count)), 64)
    assert batch.old_logprobs is not None
    # An engine that is a little off, so that ratios are near 1, as they are in a run.
    noise = torch.randn(batch.num_tokens, generator=torch.Generator().manual_seed(count)) / 20
    batch = replace(batch, sampled_logprobs=batch.old_logprobs + noise, old_logprobs=None)
    credit = Credit(turn=torch.linspace(-1, 2, batch.num_turns))
    alone, model = tiny_model(seed=1), tiny_model(seed=1)
    ranks.adopt(model, "float32")
    assert all(isinstance(weight, DTensor) for weight in model.parameters())
    largest = max(model.parameters(), key=lambda weight: weight.numel())
    assert largest.to_local().numel() <= 0.51 * largest.numel()  # really a part
    for step in range(2):  # the second one with moments
        found = []
        for policy, team in ((alone, Team()), (model, ranks)):
            if step == 0:
                policy.optimizer = PolicyOptimizer(policy, config.optimizer)
            found.append(update(policy, policy.optimizer, batch, credit, config, step, team))
        one, two = found
        assert one.skipped == two.skipped == 0
        assert abs(one.loss - two.loss) < TOLERANCE, (one.loss, two.loss)
        assert abs(one.grad_norm - two.grad_norm) < TOLERANCE, (one.grad_norm, two.grad_norm)
        assert one.metrics.keys() == two.metrics.keys()
        for name, value in one.metrics.items():
            assert abs(value - two.metrics[name]) < TOLERANCE, (name, value, two.metrics[name])
        for (name, weight), shard in zip(alone.named_parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(
                whole(shard), weight, rtol=0, atol=TOLERANCE, msg=f"{name} of step {step}"
            )
    saved = model.optimizer.state_dict()
    fresh = PolicyOptimizer(copy.deepcopy(alone), config.optimizer)
    fresh.load_state_dict(saved)  # from several processes to one
    model.optimizer.load_state_dict(fresh.state_dict())  # and back
    again = model.optimizer.state_dict()
    for index, state in saved["state"].items():
        for key, value in state.items():
            assert torch.equal(value, again["state"][index][key]), (index, key)
    moved = (largest.full_tensor() - max(tiny_model(seed=1).parameters(), key=torch.numel)).abs()
    assert moved.max() > 3e-4


def check_talk(ranks):
    """Pooling keeps the order, the first process's word counts, and errors reach everyone."""
    assert ranks.size == 2
    work = ["a", "b", "c"]
    assert ranks.pool(lambda: list(ranks.mine(work))) == work
    assert ranks.first(lambda: ("tensor", torch.tensor([1.5]), ranks.rank))[2] == 0

    def fail():
        if ranks.rank == 1:
            raise ValueError("the second one broke")
        return [0]

    for talk in (ranks.pool, lambda do: ranks.first(lambda: 1 / 0)):
        try:
            talk(fail)
        except (ValueError, ZeroDivisionError):
            continue
        raise AssertionError("an error was swallowed")


if __name__ == "__main__":
    torch.set_num_threads(1)
    team = Ranks()
    check_talk(team)
    check(team, settings(), 6)
    check(team, settings(mini_batches=2, epochs=2, loss={"mismatch": {}}), 7)
    check(team, settings(), 1)  # the second process has nothing of its own to do
    team.close()
    sys.exit(0)
