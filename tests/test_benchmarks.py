"""The CPU benchmark runs, and its independent references agree with our methods."""

import importlib
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks" / "credit"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the checkout")


@pytest.fixture
def cpu(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module("cpu")
    monkeypatch.setattr(module, "milliseconds", lambda function: function() is None or 1.0)
    return module


def test_turn_level_references_agree(cpu):
    rows = cpu.turn_level(16, 1.0)
    assert [row.peer for row in rows] == [
        "plain Python floats",
        "NumPy",
        "plain Python floats",
        "published form, a search per row",
    ]
    assert all(row.largest_difference < 1e-5 for row in rows)


def test_bilevel_references_agree(cpu):
    rows = cpu.bilevel(4, 120)
    assert all(row.largest_difference < 1e-3 for row in rows)


def test_a_disagreement_stops_the_benchmark(cpu):
    with pytest.raises(AssertionError, match="differs"):
        cpu.compare("case", "peer", lambda: torch.ones(2), lambda: torch.zeros(2))


def test_the_turn_level_benchmark_covers_every_plan(monkeypatch):
    """Its batch has the columns, and each method is one that runs in few launches."""
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module("turn_level")
    batch = module.turn_batch(16)
    assert set(batch.cu_turns.diff().tolist()) == {20} and batch.largest_group == 8
    for name, options in module.CASES:
        config, plan = module.plan_of(name, options)
        assert module.CREDITS[name].function(batch, config).turn.isfinite().all()
        assert module.bytes_moved(batch, plan) > 16 * 20 * 4
    planned = {name for name in module.CREDITS if module.CREDITS[name].plan is not None}
    assert {name for name, _ in module.CASES} == planned
