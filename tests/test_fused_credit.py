"""Credit methods in one launch: equal to their torch forms, few launches, stale tables refused."""

from dataclasses import replace

import pytest
import torch

from batches import Traj, make_batch
from isolated import run_cases
from turngym.trainers.batch import take

triton = pytest.importorskip("triton", reason="the kernels extra is not installed")

CASES = ("fused_credit_cases.py", "launch_cases.py")


@pytest.mark.parametrize("cases", CASES)
def test_through_the_interpreter(cases):
    run_cases(cases, TRITON_INTERPRET="1", TURNGYM_PARITY_DEVICE="cpu")


@pytest.mark.slow
def test_on_many_batches_through_the_interpreter():
    run_cases(CASES[0], TRITON_INTERPRET="1", TURNGYM_PARITY_DEVICE="cpu", TURNGYM_EXAMPLES="600")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_the_gpu():
    run_cases(
        CASES[0],
        TURNGYM_PARITY_DEVICE="cuda",
        TURNGYM_EXAMPLES="600",
        TRITON_DEFAULT_FP_FUSION="1",
    )


def two_groups():
    trajs = [Traj(group=g, rewards=[1.0] * n, tokens=[2] * n) for g, n in ((1, 2), (0, 1), (1, 3))]
    return make_batch(trajs).with_table()


def test_the_table_of_a_batch():
    batch = two_groups()
    assert batch.traj_by_group is not None and batch.traj_by_group.tolist() == [1, 0, 2]
    assert batch.cu_groups is not None and batch.cu_groups.tolist() == [0, 1, 3]
    assert batch.tokens_of_turn is not None and batch.tokens_of_turn.tolist() == [2] * 6
    assert batch.largest_group == 2
    assert batch.cu_traj_tokens is not None and batch.cu_traj_tokens.tolist() == [0, 6, 9, 18]
    batch.validate()


def test_the_table_of_a_trajectory_of_two_segments_and_one_without_tokens():
    """Its segments lie side by side, the silent one between takes no room."""
    rows = [Traj(group=0, rewards=r, tokens=[1] * len(r)) for r in ([1.0, 2.0], [], [3.0])]
    batch = make_batch(rows, gap=2)
    cut = replace(
        batch,
        cu_tokens=torch.tensor([0, 3, 6, 9]),
        traj_of_segment=torch.tensor([0, 0, 2]),
    ).with_table()
    assert cut.cu_traj_tokens is not None and cut.cu_traj_tokens.tolist() == [0, 6, 6, 9]


def test_a_stale_table_is_refused():
    batch = two_groups()
    assert batch.traj_by_group is not None and batch.tokens_of_turn is not None
    with pytest.raises(ValueError, match="traj_by_group is of other groups"):
        replace(batch, traj_by_group=batch.traj_by_group.flip(0)).validate()
    with pytest.raises(ValueError, match="tokens_of_turn is of other"):
        replace(batch, tokens_of_turn=batch.tokens_of_turn + 1).validate()
    part, _, _ = take(batch, torch.tensor([0, 2]))
    assert part.traj_by_group is None and part.largest_group == 0
    part.validate()
