"""The credit benchmarks run, and the independent references agree with our methods."""

import importlib
import json
from pathlib import Path

import pytest
import torch

from turngym.trainers.credit import CREDITS

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks" / "credit"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the checkout")


@pytest.fixture
def cpu(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module("cpu")
    monkeypatch.setattr(module, "milliseconds", lambda function: function() is None or 1.0)
    monkeypatch.setattr(module, "paired", lambda ours, theirs: (1.0, 1.0))
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


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(importlib.import_module("report"), "RESULTS", tmp_path)
    monkeypatch.chdir(tmp_path)
    return importlib.import_module("gpu")


def test_the_gpu_script_is_whole(gpu):
    """Every part runs at tiny sizes on the CPU: an import, a name or a shape that is gone shows."""
    path = gpu.main(["--device", "cpu", "--small"])
    made = json.loads(path.read_text())
    assert made["failed"] == []
    assert {row["method"].split()[0] for row in made["methods"]} == set(CREDITS)
    assert len(made["kernels"]) == 10
    assert made["head"]["scored"] > 0
    named = [*made["absent_peers"], *(row["peer"] for row in made["rows"])]
    for peer in ("verl linear_cross_entropy", "Liger scaled cross entropy"):
        assert any(peer in name for name in named), "neither measured nor reported as absent"


def test_the_gpu_script_reports_a_part_that_fails_and_goes_on(gpu, monkeypatch, capsys):
    monkeypatch.setattr(gpu.gpu_methods, "_relative", lambda left, right: 1.0)
    with pytest.raises(SystemExit, match="grpo on cpu differs from the CPU by 1"):
        gpu.main(["--device", "cpu", "--small"])
    made = json.loads((gpu.write_json.__globals__["RESULTS"] / "credit_gpu.json").read_text())
    assert made["kernels"] and made["head"] and "methods" not in made
    capsys.readouterr()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_gpu_script_says_that_there_is_no_gpu(gpu):
    with pytest.raises(SystemExit, match="figures stay open"):
        gpu.main([])


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
    planned = {name for name in CREDITS if CREDITS[name].plan is not None}
    assert {name for name, _ in (*module.CASES, *module.TOKEN_CASES)} == planned
    for name, options in module.TOKEN_CASES:
        assert module.bytes_moved(batch, module.plan_of(name, options)[1]) > batch.num_tokens * 20
