"""The figures of the learning benchmark, from made-up runs by hand."""

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the checkout")


def run(*sampled, names="abcd"):
    values = dict(zip(names, sampled, strict=True))
    return {"sampled": values, "greedy": values, "outcome": values, "training": [0.5, 1.0]}


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("tiny_policies")


def test_gains_are_paired_by_task_and_averaged_over_seeds(benchmark):
    runs = {
        "start": run(0, 0, 0.5, 0.5),
        "grpo 0": run(1, 0, 1, 1),
        "grpo 1": run(1, 1, 1, 1),
        "mapo 0": run(0, 0, 1, 1),
        "mapo 1": run(0, 0, 1, 1),
        "mica 0": run(1, 1, 1, 1),
    }
    found = benchmark.summary(runs, benchmark.Plan())
    assert found["start"]["sampled"]["value"] == 0.25
    # gains 1, .5, .5, .5: mean .625, sample variance .0625, half 1.96 sqrt(.0625 / 4) = .245
    assert found["grpo"]["sampled_gain"] == {"value": 0.625, "low": 0.38, "high": 0.87}
    assert found["grpo"]["seeds"] == [0.75, 1.0] and found["grpo"]["training"] == [0.5, 1.0]
    # differences -1, -.5, 0, 0: mean -.375
    assert found["mapo"]["minus_grpo"]["value"] == -0.375
    # episodes end in any order
    runs["grpo 1"] = run(1, 1, 1, 1, names="dcba")
    runs["start"] = run(0.5, 0.5, 0, 0, names="dcba")
    assert benchmark.summary(runs, benchmark.Plan()) == found
    # seed 0 alone on both sides: 0, 1, 0, 0
    assert found["mica"]["minus_grpo"]["value"] == 0.25
    assert all(0 <= found[name]["greedy"]["high"] <= 1 for name in found)
