"""Our estimators equal verl 0.9.1's own functions on random ragged batches with observation gaps.

Runs in the verl environment: `.ci/requirements-verl.txt`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from batches import Traj, make_batch
from turngym.trainers.credit import (
    GaeTokenConfig,
    GrpoConfig,
    ReinforcePpBaselineConfig,
    ReinforcePpConfig,
    RlooConfig,
    gae_token,
    grpo,
    reinforce_pp,
    reinforce_pp_baseline,
    rloo,
)
from turngym.trainers.kernels.spread import spread
from turngym.trainers.types import Credit, TurnBatch

pytestmark = pytest.mark.verl

SEEDS = range(5)


@pytest.fixture(scope="module")
def verl() -> Any:
    pytest.importorskip("verl", reason="needs the verl environment (.ci/requirements-verl.txt)")
    from verl.trainer.ppo import core_algos

    return core_algos


class Dense:
    """A ragged batch as verl sees it: [B, T] with the response on the left and padding behind."""

    def __init__(self, seed: int, *, equal_groups: bool = False) -> None:
        generator = np.random.default_rng(seed)
        trajs = []
        for _ in range(24):
            turns = int(generator.integers(1, 7))
            trajs.append(
                Traj(
                    group=int(generator.integers(0, 8)) if not equal_groups else len(trajs) // 4,
                    rewards=[None] * turns,
                    outcome=float(np.float32(generator.normal())),
                    tokens=[int(n) for n in generator.integers(1, 9, turns)],
                )
            )
        self.batch = make_batch(trajs, gap=int(generator.integers(1, 4)))
        starts, ends = self.batch.cu_tokens[:-1], self.batch.cu_tokens[1:]
        self.shape = (len(trajs), int((ends - starts).max()))
        self.row = torch.repeat_interleave(torch.arange(len(trajs)), ends - starts)
        self.place = torch.arange(self.batch.num_tokens) - starts[self.row]
        sampled = self.batch.turn_of_token >= 0
        self.mask = self.dense(sampled.to(torch.int64))
        self.rewards = torch.zeros(self.shape)
        self.rewards[torch.arange(len(trajs)), ends - starts - 1] = self.batch.outcome
        self.index = self.batch.group_of_traj.numpy()
        values = torch.from_numpy(generator.normal(size=self.batch.num_tokens)).float()
        self.batch = self.batch.with_columns(token={"values": values})
        self.values = self.dense(values)

    def dense(self, packed: Tensor) -> Tensor:
        result = torch.zeros(self.shape, dtype=packed.dtype)
        result[self.row, self.place] = packed
        return result


def same(credit: Credit, theirs: Tensor, dense: Dense) -> None:
    batch: TurnBatch = dense.batch
    ours = spread(credit.turn, batch.turn_of_token) if credit.token is None else credit.token
    torch.testing.assert_close(
        dense.dense(ours), theirs * dense.mask, rtol=1e-5, atol=1e-5, check_dtype=False
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("by_std", [True, False])
def test_grpo(verl: Any, seed: int, by_std: bool):
    dense = Dense(seed)
    theirs, _ = verl.compute_grpo_outcome_advantage(
        dense.rewards, dense.mask, dense.index, norm_adv_by_std_in_grpo=by_std
    )
    ours = grpo(dense.batch, GrpoConfig(divide_by_std=by_std, singleton="raw"))
    same(ours, theirs, dense)


@pytest.mark.parametrize("seed", SEEDS)
def test_grpo_vectorized(verl: Any, seed: int):
    dense = Dense(seed, equal_groups=True)
    theirs, _ = verl.compute_grpo_vectorized_outcome_advantage(
        dense.rewards, dense.mask, dense.index
    )
    same(grpo(dense.batch), theirs, dense)


@pytest.mark.parametrize("seed", SEEDS)
def test_rloo(verl: Any, seed: int):
    dense = Dense(seed)
    theirs, _ = verl.compute_rloo_outcome_advantage(dense.rewards, dense.mask, dense.index)
    same(rloo(dense.batch, RlooConfig(singleton="raw")), theirs, dense)


@pytest.mark.parametrize("seed", SEEDS)
def test_rloo_vectorized(verl: Any, seed: int):
    """Their vectorised form gives a group of one 0, as our default does."""
    dense = Dense(seed)
    theirs, _ = verl.compute_rloo_vectorized_outcome_advantage(
        dense.rewards, dense.mask, dense.index
    )
    same(rloo(dense.batch), theirs, dense)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("gamma", [1.0, 0.97, 0.5])
def test_reinforce_pp(verl: Any, seed: int, gamma: float):
    from verl.trainer.config import AlgoConfig

    dense = Dense(seed)
    theirs, _ = verl.compute_reinforce_plus_plus_outcome_advantage(
        dense.rewards, dense.mask, AlgoConfig(gamma=gamma)
    )
    same(reinforce_pp(dense.batch, ReinforcePpConfig(gamma=gamma)), theirs, dense)


@pytest.mark.parametrize("seed", SEEDS)
def test_reinforce_pp_baseline(verl: Any, seed: int):
    dense = Dense(seed)
    theirs, _ = verl.compute_reinforce_plus_plus_baseline_outcome_advantage(
        dense.rewards, dense.mask, dense.index
    )
    ours = reinforce_pp_baseline(dense.batch, ReinforcePpBaselineConfig(singleton="raw"))
    same(ours, theirs, dense)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 1.0), (0.99, 0.95), (0.5, 0.3)])
def test_gae(verl: Any, seed: int, gamma: float, lam: float):
    dense = Dense(seed)
    advantages, returns = verl.compute_gae_advantage_return(
        dense.rewards, dense.values, dense.mask, gamma, lam
    )
    ours = gae_token(dense.batch, GaeTokenConfig(gamma=gamma, lam=lam))
    same(ours, advantages, dense)
    assert ours.returns is not None
    torch.testing.assert_close(
        dense.dense(ours.returns), returns * dense.mask, rtol=1e-5, atol=1e-5
    )
