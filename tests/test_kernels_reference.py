"""The torch definitions of the turn kernels against plain Python, and how a form is chosen."""

from __future__ import annotations

import math
import sys
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from turngym.errors import ConfigError, UsageError
from turngym.trainers.kernels import dispatch
from turngym.trainers.kernels.discounted_return import Table, discounted_return
from turngym.trainers.kernels.discounted_return.reference import reverse_scan
from turngym.trainers.kernels.gae import gae
from turngym.trainers.kernels.segment_norm import NormRule, segment_norm
from turngym.trainers.kernels.segment_norm import numpy as norm_in_numpy
from turngym.trainers.kernels.segment_norm import reference as norm_in_torch
from turngym.trainers.kernels.segment_sum import segment_mean, segment_sum
from turngym.trainers.kernels.spread import spread
from turngym.trainers.kernels.testing import assert_close, poison

NAN = math.nan


def ints(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


# ---- sums ----


def test_sums_and_means_by_key():
    values, key = torch.tensor([1.0, 2, 4, 8, NAN]), ints(2, 0, 2, 2, -1)
    assert_close(segment_sum(values, key, 4), torch.tensor([2.0, 0, 13, 0]))
    assert_close(segment_mean(values, key, 4), torch.tensor([2.0, 0, 13 / 3, 0]))


def test_half_precision_sums_do_not_stall():
    """In bfloat16 itself, 256 + 1 is 256: a running sum would never pass it."""
    ones = torch.ones(1000, dtype=torch.bfloat16)
    assert segment_sum(ones, torch.zeros(1000, dtype=torch.int64), 1).item() == 1000


def test_gradients_reach_every_row_that_counts():
    values = torch.tensor([1.0, 2, 3, 4], dtype=torch.float64, requires_grad=True)
    key = ints(1, -1, 1, 0)
    assert torch.autograd.gradcheck(lambda v: segment_mean(v, key, 3), (values,))
    assert torch.autograd.gradcheck(lambda v: spread(v, ints(-1, 0, 3, 3)), (values,))


def test_the_sorted_form_equals_the_scattered_one():
    """What other devices run, checked on the CPU: a meta tensor would have no values."""
    generator = torch.Generator().manual_seed(0)
    key = torch.randint(-1, 50, (999,), generator=generator)
    values = torch.randn(999, generator=generator, dtype=torch.float64)
    order = torch.argsort(key, stable=True)
    starts = torch.searchsorted(key[order], torch.arange(51))
    got = torch.segment_reduce(values[order], "sum", offsets=starts, unsafe=True)
    assert_close(got, segment_sum(values, key, 50))


def test_spread_gives_zero_to_foreign_tokens():
    assert_close(
        spread(torch.tensor([5.0, 7]), ints(-1, 1, 0, -1, 1)), torch.tensor([0.0, 7, 5, 0, 7])
    )
    assert spread(torch.tensor([True]), ints(-1, 0)).tolist() == [False, True]
    assert spread(torch.zeros(0), ints(-1, -1)).tolist() == [0, 0]


# ---- norms ----


def test_norm_by_hand():
    """(1, 3) -> mean 2, deviation 1; (0, 3, 6) -> mean 3, deviation sqrt 6; keys interleaved."""
    got = segment_norm(torch.tensor([1.0, 0, 3, 3, 6]), ints(0, 1, 0, 1, 1), 2, NormRule(eps=0))
    assert_close(got.values, torch.tensor([-1, -math.sqrt(1.5), 1, 0, math.sqrt(1.5)]))
    unbiased = NormRule(ddof=1, eps=0.5, eps_inside=2.0)
    got = segment_norm(torch.tensor([1.0, 3]), ints(0, 0), 1, unbiased)
    assert_close(got.values, torch.tensor([-0.4, 0.4]))  # 1 / (sqrt(2 + 2) + .5)


@pytest.mark.parametrize(
    ("singleton", "value", "kept"), [("zero", 0.0, True), ("raw", 3.0, True), ("drop", 0.0, False)]
)
def test_a_lone_value(singleton: str, value: float, kept: bool):
    rule = NormRule(eps=0, singleton=singleton)  # type: ignore[arg-type]
    got = segment_norm(torch.tensor([3.0, 1, 1]), ints(0, 1, 1), 2, rule)
    assert got.values.tolist() == [value, 0, 0]
    assert got.kept.tolist() == [kept, True, True]
    assert (float(got.singletons), float(got.flat)) == (1, 1)


@pytest.mark.parametrize("value", [0.1, 1e-8, 1e8, -3.3])
def test_equal_values_give_exactly_zero(value: float):
    for rule in (NormRule(eps=0), NormRule(ddof=1, eps=1e-6), NormRule(divide=False)):
        got = segment_norm(
            torch.full((1003,), value), torch.zeros(1003, dtype=torch.int64), 1, rule
        )
        assert got.values.count_nonzero() == 0


def test_rounding_is_not_spread():
    """Two outcomes that differ by one unit in the last place are not +1 and -1."""
    almost = torch.tensor([0.7, 0.7]).nextafter(torch.tensor([0.7, 1.0]))
    assert segment_norm(almost, ints(0, 0), 1, NormRule()).values.tolist() == [0, 0]


def test_small_spread_on_a_large_mean():
    """10 +- 1e-3: a one-pass float32 variance would be wrong or negative."""
    got = segment_norm(torch.tensor([9.999, 10.001]), ints(0, 0), 1, NormRule())
    assert_close(got.values, torch.tensor([-1.0, 1.0]), 1e-4)


def test_masked_rows_neither_count_nor_leak():
    mask = torch.tensor([True, False, True])
    values = poison(torch.tensor([1.0, 9, 3]), mask)
    got = segment_norm(values, ints(0, 0, 0), 1, NormRule(eps=0), mask=mask)
    assert got.values.tolist() == [-1, 0, 1]


def test_nan_inside_the_mask_spoils_its_own_segment_only():
    got = segment_norm(torch.tensor([NAN, 1, 1, 3]), ints(0, 0, 1, 1), 2, NormRule(eps=0))
    assert got.values.isnan().tolist() == [True, True, False, False]


def test_statistics_from_some_rows_and_with_weights():
    values, key = torch.tensor([1.0, 3, 100]), ints(0, 0, 0)
    source = torch.tensor([True, True, False])
    got = segment_norm(values, key, 1, NormRule(eps=0), source=source)
    assert got.values.tolist() == [-1, 1, 98]
    weighted = segment_norm(
        torch.tensor([1.0, 5]), ints(0, 0), 1, NormRule(ddof=1), weight=ints(3, 1)
    )
    spelled = segment_norm(torch.tensor([1.0, 1, 1, 5]), ints(0, 0, 0, 0), 1, NormRule(ddof=1))
    assert_close(weighted.values, spelled.values[[0, 3]])


@settings(deadline=None, max_examples=150)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 4), st.floats(-3, 3, width=32), st.booleans(), st.booleans(),
            st.integers(0, 3),
        ),
        max_size=30,
    ),
    num_keys=st.sampled_from([1, 5, 7]),
    rule=st.builds(
        NormRule,
        ddof=st.integers(0, 1),
        eps=st.sampled_from([1e-8, 1e-6]),
        eps_inside=st.sampled_from([0, 1e-8]),
        divide=st.booleans(),
        std_floor=st.sampled_from([1e-8, 0.5]),
        singleton=st.sampled_from(["zero", "raw", "drop"]),
    ),
    given_columns=st.sets(st.sampled_from(["mask", "source", "weight"])),
)  # fmt: skip
def test_the_form_for_cpus_equals_the_torch_form(rows, num_keys, rule, given_columns):
    """Singletons, empty keys, empty statistics, masked rows: any rule treated otherwise."""
    keys, values, mask, source, weight = map(list, zip(*rows, strict=True)) if rows else [[]] * 5
    columns = {
        "mask": torch.tensor(mask, dtype=torch.bool),
        "source": torch.tensor(source, dtype=torch.bool),
        "weight": torch.tensor(weight, dtype=torch.float32),
    }
    columns = {name: column for name, column in columns.items() if name in given_columns}
    x = torch.tensor(values, dtype=torch.float32)
    if "mask" in columns:
        x = poison(x, columns["mask"])
    key = ints(*keys).clamp(max=num_keys - 1)
    arguments = (x, key, num_keys, rule)
    got = norm_in_numpy.segment_norm(*arguments, **columns)
    expected = norm_in_torch.segment_norm(*arguments, **columns)
    assert_close(got.values, expected.values, 1e-5)
    assert torch.equal(got.kept, expected.kept)
    assert got.singletons == expected.singletons and got.flat == expected.flat
    assert got.flat.dtype == expected.flat.dtype


def test_many_rows_go_to_the_torch_form(monkeypatch):
    key = torch.arange(200) % 7
    values = torch.randn(200, generator=torch.Generator().manual_seed(3))
    few = segment_norm(values, key, 7, NormRule())
    monkeypatch.setattr(norm_in_numpy, "SMALL", 100)
    assert_close(segment_norm(values, key, 7, NormRule()).values, few.values)


# ---- scans ----


def python_scan(factor: list[float], value: list[float]) -> list[float]:
    result, ahead = [], 0.0
    for a, b in zip(reversed(factor), reversed(value), strict=True):
        ahead = b + a * ahead
        result.append(ahead)
    return result[::-1]


@pytest.mark.parametrize("n", [0, 1, 2, 31, 32, 33, 1023, 1024, 1025, 40_000])
def test_scan_equals_the_recurrence(n: int):
    generator = torch.Generator().manual_seed(n)
    factor = torch.rand(n, generator=generator, dtype=torch.float64)
    factor[torch.rand(n, generator=generator) < 0.1] = 0
    value = torch.randn(n, generator=generator, dtype=torch.float64)
    before = factor.clone(), value.clone()
    expected = torch.tensor(python_scan(factor.tolist(), value.tolist()), dtype=torch.float64)
    assert_close(reverse_scan(factor, value), expected)
    assert torch.equal(factor, before[0]) and torch.equal(value, before[1])


Step = tuple[float, float, bool, bool]
STEPS = st.lists(
    st.tuples(st.floats(-3, 3, width=32), st.floats(-3, 3, width=32), st.booleans(), st.booleans()),
    max_size=90,
)


@settings(deadline=None, max_examples=60)
@given(steps=STEPS, gamma=st.sampled_from([0.0, 0.5, 0.9, 1.0]), turn_time=st.booleans())
def test_gae_and_returns_equal_a_loop(steps: list[Step], gamma: float, turn_time: bool):
    """Rows begin where the last flag is set; time passes by 2 at every third step in turn time."""
    rewards, values, mask, opens = ([step[field] for step in steps] for field in range(4))
    n, lam, row, rows, times = len(steps), 0.7, -1, [], []
    for i in range(n):
        if i == 0 or opens[i]:
            row += 1
        rows.append(row)
        times.append(i // 3 * 2)
    advantage, ahead, later = [0.0] * n, [0.0] * n, -1
    for i in reversed(range(n)):
        if not mask[i]:
            continue
        follows = later >= 0 and rows[later] == rows[i]
        dt = times[later] - times[i] if follows and turn_time else 1
        next_value, next_advantage, next_return = (
            (values[later], advantage[later], ahead[later]) if follows else (0.0, 0.0, 0.0)
        )
        advantage[i] = rewards[i] + gamma**dt * next_value - values[i]
        advantage[i] += (gamma * lam) ** dt * next_advantage
        ahead[i] = rewards[i] + gamma**dt * next_return
        later = i
    keep = torch.tensor(mask, dtype=torch.bool)
    time = torch.tensor(times, dtype=torch.int64) if turn_time else None
    arguments = poison(torch.tensor(rewards), keep), poison(torch.tensor(values), keep)
    where = torch.tensor(rows, dtype=torch.int64)
    made = gae(*arguments, where, gamma, lam, mask=keep, time=time)
    assert_close(made.advantage, torch.tensor(advantage), 1e-4)
    assert_close(made.returns, torch.tensor(advantage) + torch.where(keep, arguments[1], 0), 1e-4)
    got = discounted_return(arguments[0], where, gamma, mask=keep, time=time)
    assert_close(got, torch.tensor(ahead), 1e-4)


def rows_of(lengths: list[int]) -> tuple[Tensor, Table]:
    """The row of each step, and the table; rows may be empty."""
    row = torch.repeat_interleave(torch.arange(len(lengths)), ints(*lengths))
    starts = ints(*lengths).cumsum(0) - ints(*lengths)
    longest = max(lengths, default=0)
    place = row * longest + torch.arange(row.shape[0]) - starts[row]
    return row, Table(place=place, rows=len(lengths), longest=longest)


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(0, 33) | st.integers(0, 300), max_size=6),
    gamma=st.sampled_from([0.0, 0.3, 0.95, 1.0]),
    seed=st.integers(0, 99),
)
def test_rows_without_gaps_equal_a_loop(lengths: list[int], gamma: float, seed: int):
    """Short rows, long rows, blocks with several row ends; what the table says changes nothing."""
    lam = 0.7
    row, table = rows_of(lengths)
    generator = torch.Generator().manual_seed(seed)
    rewards, values = torch.randn(2, row.shape[0], generator=generator)
    returns, advantages = [], []
    for reward, value in zip(rewards.split(lengths), values.split(lengths), strict=True):
        after = [*value.tolist()[1:], 0.0]
        errors = [
            r + gamma * later - v
            for r, v, later in zip(reward.tolist(), value.tolist(), after, strict=False)
        ]
        returns += python_scan([gamma] * len(reward), reward.tolist())
        advantages += python_scan([gamma * lam] * len(reward), errors)
    for known in (None, table):
        got = discounted_return(rewards, row, gamma, table=known)
        assert_close(got, torch.tensor(returns), 1e-4)
        made = gae(rewards, values, row, gamma, lam, table=known)
        assert_close(made.advantage, torch.tensor(advantages), 1e-4)
        assert_close(made.returns, torch.tensor(advantages) + values, 1e-4)


def test_settings_for_float32_products_do_not_reach_returns():
    """On some CPUs "medium" multiplies in bfloat16, which keeps two digits."""
    row, table = rows_of([20] * 50)
    rewards = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    exact = discounted_return(rewards, row, 0.9, table=table)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert torch.equal(discounted_return(rewards, row, 0.9, table=table), exact)
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_large_neighbour_costs_no_digits():
    """A row end inside a block: what lies behind it must not be added and taken away again."""
    row, table = rows_of([100, 100])
    rewards = torch.cat([torch.full((100,), 1e-3), torch.full((100,), 1e12)])
    for known in (None, table):
        got = discounted_return(rewards, row, 1.0, table=known)
        assert_close(got[:100], torch.arange(100, 0, -1) * 1e-3, 1e-6)


def test_turn_time_by_hand():
    """Two turns of two tokens, an observation between: within a turn no discount, between it .5."""
    got = discounted_return(
        torch.tensor([0.0, 0, NAN, 0, 8]),
        ints(0, 0, 0, 0, 0),
        0.5,
        mask=torch.tensor([True, True, False, True, True]),
        time=ints(0, 0, 0, 1, 1),
    )
    assert got.tolist() == [4, 4, 0, 8, 8]


# ---- dispatch ----


def definition(values: Tensor) -> str:
    return "reference"


@pytest.fixture
def op(monkeypatch: pytest.MonkeyPatch):
    """A kernel whose Triton form says so; found by the module's name alone."""
    monkeypatch.setattr(definition, "__module__", "made_up.reference")
    form = ModuleType("made_up.triton")
    form.definition = lambda values: "triton"  # type: ignore[attr-defined]
    form.__spec__ = dispatch.importlib.util.spec_from_loader("made_up.triton", None)
    package = ModuleType("made_up")
    package.__path__ = []
    monkeypatch.setitem(sys.modules, "made_up", package)
    monkeypatch.setitem(sys.modules, "made_up.triton", form)
    dispatch._triton_form.cache_clear()
    yield dispatch.dispatched(definition)
    dispatch._triton_form.cache_clear()


def test_the_cpu_takes_the_definition_unless_told(op, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)
    assert op(torch.zeros(1)) == "reference"
    monkeypatch.setenv(dispatch.VARIABLE, "triton")
    assert op(torch.zeros(1)) == "triton"
    monkeypatch.setenv(dispatch.VARIABLE, "reference")
    assert op(torch.zeros(1)) == "reference"


def test_an_unknown_choice_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(dispatch.VARIABLE, "tritom")
    with pytest.raises(ConfigError, match="Did you mean 'triton'.*auto, reference, triton"):
        spread(torch.zeros(1), ints(0))


def test_a_kernel_without_triton_form_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(definition, "__module__", "turngym.trainers.kernels.reference")
    monkeypatch.setenv(dispatch.VARIABLE, "triton")
    pytest.importorskip("triton", reason="the kernels extra is not installed")
    with pytest.raises(UsageError, match="definition has no Triton form"):
        dispatch.dispatched(definition)(torch.zeros(1))


# ---- comparison itself ----


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (torch.zeros(2, 1), "shape"),
        (torch.zeros(2, dtype=torch.float64), "dtype"),
        (torch.tensor([0.0, NAN]), "NaN"),
        (torch.tensor([0.0, math.inf]), "inf"),
        (torch.tensor([0.0, 1e-3]), "not close"),
    ],
)
def test_assert_close_sees(other: Tensor, what: str):
    with pytest.raises(AssertionError, match=what):
        assert_close(other, torch.zeros(2))
