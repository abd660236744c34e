"""Two processes on gloo: fully_shard, the same numbers as one process, and runs that cross over."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from test_batch import trajectory, turn
from test_train import quiet
from turngym.trainers import checkpoint
from turngym.trainers.batch import collate
from turngym.trainers.config import load_recipe
from turngym.trainers.shard import shares
from turngym.trainers.train import train

HERE = Path(__file__).resolve().parent
TINY = [
    "steps=4",
    "groups_per_step=3",
    "group_size=4",
    "sampling.max_new_tokens=16",
    "evaluation.episodes=4",
    "evaluation.temperatures=[1.0]",
    "env.max_turns=5",
    "env.num_products=100",
    "checkpoint_every=2",
    "keep_checkpoints=9",
    "threads=1",
]


def two_processes(*command):
    """Run a script or `-m module` twice under torchrun; gives its output."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    address = ["--master-addr", "localhost", "--master-port", str(port)]
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*launch, *address, *command],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_an_update_by_two_processes_equals_one():
    two_processes(str(HERE / "shard_worker.py"))


def test_shares_are_balanced_and_leave_out_what_is_not_trained():
    sizes = (40, 3, 20, 20, 5)
    whole = collate([trajectory([turn([1] * n, [2], opens=True)]) for n in sizes])
    masked = torch.tensor([True, True, True, True, False])
    batch = whole.__class__(
        **{n: getattr(whole, n) for n in whole.__dataclass_fields__} | {"traj_mask": masked}
    )
    assert [s.tolist() for s in shares(batch, 2)] == [[0, 1], [2, 3]]
    assert [s.tolist() for s in shares(batch, 5)][-1] == []


def command(out, *more):
    return ["-m", "turngym", "train", "grpo", *TINY, *more, "--out", str(out)]


def lines(folder):
    return [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]


def assert_alike(one, two):
    """The same course within what another order of additions makes of it."""
    assert len(one) == len(two) == 4
    assert max(row["grad_norm"] for row in one) > 0.1
    for a, b in zip(one, two, strict=True):
        for name in ("loss", "grad_norm"):
            assert a[name] == pytest.approx(b[name], abs=1e-4)
        assert a["metrics"]["outcome"] == pytest.approx(b["metrics"]["outcome"])
        assert a["metrics"]["signal/reference/kl"] == pytest.approx(
            b["metrics"]["signal/reference/kl"], abs=1e-4
        )


@pytest.mark.slow
@pytest.mark.timeout(4000)
@pytest.mark.parametrize(
    "more",
    [
        ["loss.kl_coef=0.01"],
        ["loss.kl_coef=0.01", "policy.lora.rank=4"],
        ["loss.kl_coef=0", "rollout.max_staleness=1", "refills=1", "policy.dtype=bfloat16"],
    ],
    ids=["plain", "lora", "ahead"],
)
def test_the_command_line_runs_on_two_processes_and_checkpoints_cross_over(tmp_path, more):
    config = load_recipe("grpo", [*TINY, *more])
    alone, both = tmp_path / "alone", tmp_path / "both"
    train(config, alone, report=quiet)
    said = two_processes(*command(both, *more))
    assert said.count("step 4/4") == 1  # the first process alone reports
    names = [{p.relative_to(f) for p in f.rglob("*")} for f in (alone, both)]
    assert names[0] == names[1] - {Path("curve.png")}
    before = lines(alone), lines(both)
    exact = "rollout.max_staleness=1" not in more  # bf16 and refills need not find the same way
    if exact:
        assert_alike(*before)
    # From one process to two and from two to one: the last two steps again.
    for folder in (alone, both):
        shutil.rmtree(folder / "checkpoints" / "step-000004")
        (folder / "finished.json").unlink()
    two_processes(*command(alone, *more, "--resume"))
    train(config, both, resume=True, report=quiet)
    assert lines(both)[:2] == before[1][:2] and lines(alone)[:2] == before[0][:2]
    if exact:
        assert_alike(before[0], lines(alone))
        assert_alike(before[1], lines(both))
    assert checkpoint.read_state(checkpoint.latest(alone)).step == 4
    assert checkpoint.read_state(checkpoint.latest(both)).step == 4
