"""Run by test_kernels_parity.py in its own process: the turn-level kernels against definitions."""

import os

import pytest
import torch
from torch.testing import assert_close

from guarded import guarded_allocations
from turngym.trainers.kernels.discounted_return import reference as return_definition
from turngym.trainers.kernels.discounted_return import triton as return_kernel
from turngym.trainers.kernels.gae import reference as gae_definition
from turngym.trainers.kernels.gae import triton as gae_kernel
from turngym.trainers.kernels.segment_norm import NormRule
from turngym.trainers.kernels.segment_norm import reference as norm_definition
from turngym.trainers.kernels.segment_norm import triton as norm_kernel
from turngym.trainers.kernels.segment_sum import reference as sum_definition
from turngym.trainers.kernels.segment_sum import triton as sum_kernel
from turngym.trainers.kernels.spread import reference as spread_definition
from turngym.trainers.kernels.spread import triton as spread_kernel

DEVICE = os.environ["TURNGYM_PARITY_DEVICE"]
NAN = float("nan")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    for kernel in (return_kernel, norm_kernel, sum_kernel, spread_kernel):
        monkeypatch.setattr(kernel, "BLOCK", 16)


def generator():
    return torch.Generator().manual_seed(7)


def normal(size):
    return torch.randn(size, generator=generator()).to(DEVICE)


def keys(n, num_keys, lowest=0):
    return torch.randint(lowest, num_keys, (n,), generator=generator()).to(DEVICE)


def ragged_rows(lengths):
    return torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).to(DEVICE)


def holes(n):
    return (torch.rand(n, generator=generator()) < 0.6).to(DEVICE)


@pytest.mark.parametrize("name", ["segment_sum", "segment_mean"])
@pytest.mark.parametrize(("n", "num_keys"), [(0, 3), (1, 1), (50, 4), (33, 1), (20, 40)])
def test_segment_sums(name, n, num_keys, monkeypatch):
    values = normal(n).requires_grad_()
    key = keys(n, num_keys, -1)
    expected = getattr(sum_definition, name)(values, key, num_keys)
    with guarded_allocations(monkeypatch):
        got = getattr(sum_kernel, name)(values, key, num_keys)
    assert_close(got, expected, atol=1e-5, rtol=1e-5)
    weights = torch.arange(1.0, num_keys + 1, device=DEVICE)
    (left,) = torch.autograd.grad((got * weights).sum(), values)
    (right,) = torch.autograd.grad((expected * weights).sum(), values)
    assert_close(left, right, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("n", "num_turns"), [(0, 2), (1, 1), (16, 5), (50, 5)])
def test_spread(n, num_turns, monkeypatch):
    values = normal(num_turns).requires_grad_()
    turn = keys(n, num_turns, -1)
    with guarded_allocations(monkeypatch):
        got = spread_kernel.spread(values, turn)
    expected = spread_definition.spread(values, turn)
    assert_close(got, expected, atol=0, rtol=0)
    weights = torch.arange(1.0, n + 1, device=DEVICE)
    (left,) = torch.autograd.grad((got * weights).sum(), values)
    (right,) = torch.autograd.grad((expected * weights).sum(), values)
    assert_close(left, right, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64], ids=str)
def test_spread_of_other_types(dtype, monkeypatch):
    values = torch.tensor([0, 1, 1, 0, 1], device=DEVICE).to(dtype)
    turn = keys(50, 5, -1)
    with guarded_allocations(monkeypatch):
        got = spread_kernel.spread(values, turn)
    assert torch.equal(got, spread_definition.spread(values, turn))


LENGTHS = {
    "one": [1],
    "ragged": [3, 0, 40, 1, 6],
    "a block": [16],
    "three blocks": [20, 25],
    "blocks of blocks": [150, 160],
}


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("discount", [0.0, 0.9])
@pytest.mark.parametrize("form", ["plain", "turn time"])
def test_discounted_return_and_gae(lengths, discount, form, monkeypatch):
    row = ragged_rows(lengths)
    n = row.shape[0]
    mask = None if form == "plain" else holes(n)
    time = torch.arange(n, device=DEVICE) // 3 if form == "turn time" else None
    rewards, values = normal(n), normal(2 * n)[n:]
    if mask is not None:
        rewards = torch.where(mask, rewards, NAN)
        values = torch.where(mask, values, NAN)
    settings = {"mask": mask, "time": time}
    expected = return_definition.discounted_return(rewards, row, discount, **settings)
    with guarded_allocations(monkeypatch):
        got = return_kernel.discounted_return(rewards, row, discount, **settings)
    assert_close(got, expected, atol=1e-4, rtol=1e-5)
    wanted = gae_definition.gae(rewards, values, row, discount, 0.8, **settings)
    with guarded_allocations(monkeypatch):
        mine = gae_kernel.gae(rewards, values, row, discount, 0.8, **settings)
    assert_close(mine.advantage, wanted.advantage, atol=1e-5, rtol=1e-5)
    assert_close(mine.returns, wanted.returns, atol=1e-5, rtol=1e-5)


RULES = {
    "population": NormRule(),
    "unbiased": NormRule(ddof=1, eps=1e-6),
    "inside": NormRule(eps=1e-6, eps_inside=1e-8),
    "centred": NormRule(divide=False, singleton="raw"),
    "raw": NormRule(ddof=1, eps=1e-6, singleton="raw"),
    "drop": NormRule(singleton="drop"),
    "floor": NormRule(std_floor=10.0),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("form", ["plain", "mask", "everything"])
def test_segment_norm(rule, form, monkeypatch):
    n, num_keys = 60, 7
    key = keys(n, num_keys - 1)  # the last key has no row
    key[3] = num_keys - 2
    values = normal(n)
    values[key == 1] = 2.5  # no spread
    key[key == 2] = 0
    key[10] = 2  # one row
    extras = {
        "mask": holes(n) | (torch.arange(n, device=DEVICE) == 10),
        "source": holes(2 * n)[n:],
        "weight": (1 + keys(n, 5)).float(),
    }
    if form != "everything":
        extras = {name: column for name, column in extras.items() if name == form}
    if "mask" in extras:
        values = torch.where(extras["mask"], values, NAN)
    expected = norm_definition.segment_norm(values, key, num_keys, rule, **extras)
    with guarded_allocations(monkeypatch):
        got = norm_kernel.segment_norm(values, key, num_keys, rule, **extras)
    assert_close(got.values, expected.values, atol=1e-6, rtol=1e-5)
    assert torch.equal(got.kept, expected.kept)
    assert got.singletons == expected.singletons
    assert got.flat == expected.flat


def test_one_key_over_many_blocks_keeps_small_differences():
    # outcomes 10 +- 1e-3: a one-pass variance in float32 is lost
    values = 10 + 1e-3 * normal(100)
    key = torch.zeros(100, dtype=torch.int64, device=DEVICE)
    got = norm_kernel.segment_norm(values, key, 1, NormRule()).values
    exact = (values.double() - values.double().mean()) / values.double().std(correction=0)
    assert_close(got, exact.float(), atol=1e-4, rtol=1e-4)
