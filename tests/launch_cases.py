"""Run by test_fused_credit.py in its own process: device launches of every credit method."""

import pytest
import torch

from credit_cases import BOTH, VARIANTS, batch_of
from launches import HostWaits, counted_launches
from turngym.trainers.credit import CREDITS
from turngym.trainers.kernels.dispatch import VARIABLE
from turngym.trainers.kernels.token_credit import launch as token_launch

AT_MOST = 3
BY_TORCH = [("raft", {}), ("igpo", {"norm": "joint"})]
"""No plan: torch operators between the kernels."""


@pytest.fixture(autouse=True)
def kernels(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, "triton")
    monkeypatch.setattr(token_launch, "BLOCK", 16)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_credit_is_few_launches(name, options, monkeypatch):
    method = CREDITS[name]
    batch, config = batch_of(BOTH).with_table(), method.parse(options)
    with counted_launches(monkeypatch) as found:
        method(batch, config)
    few = sum(found.values()) <= AT_MOST
    assert few == ((name, options) not in BY_TORCH), found


def test_the_rule_drop_adds_the_spread_over_tokens(monkeypatch):
    batch, grpo = batch_of(BOTH).with_table(), CREDITS["grpo"]
    with counted_launches(monkeypatch) as found:
        grpo(batch, grpo.parse({"singleton": "drop"}))
    assert found == {"triton group_kernel": 1, "sum": 1, "triton spread_kernel": 1}


def test_the_counter_sees_operators_kernels_and_waiting(monkeypatch):
    values = torch.arange(6.0)
    with counted_launches(monkeypatch) as found:
        views = values.view(2, 3).t()[0].unsqueeze(0)
        torch.empty(3)
        _ = views + values[:2].add(1).sort().values
    assert found == {"add": 2, "sort": 1}
    for wait in (
        lambda: values.sum().item(),
        lambda: values[values > 2],
        lambda: values.unique(),
        lambda: torch.repeat_interleave(torch.tensor([1, 2])),
    ):
        with pytest.raises(HostWaits), counted_launches(monkeypatch):
            wait()
