"""Runs that meet damaged files, full disks, numbers that are not finite, and more steps."""

import errno
import json
import math
import os
import shutil
from dataclasses import replace

import pytest
import torch

import killable  # noqa: F401  (registers the environment)
from batches import Traj, make_batch
from interrupted import ctrl_c
from killable import settings, tiny_weights
from turngym.errors import (
    ConfigError,
    DataError,
    NotTheAgentsFault,
    RunStopped,
    StorageFailure,
    UnknownNameError,
)
from turngym.trainers import checkpoint, files
from turngym.trainers import explore as explore_module
from turngym.trainers import train as train_module
from turngym.trainers.evidence import load_evidence
from turngym.trainers.groups import drop_small_groups
from turngym.trainers.run import Run
from turngym.trainers.signals.suite import skipped_signals
from turngym.trainers.train import train


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_weights(tmp_path_factory.mktemp("model"))


def config(model, **changes):
    made = settings(str(model), "grpo").model_dump(mode="json")
    return killable.TrainConfig.model_validate({**made, **changes})


def quiet(_):
    pass


@pytest.fixture(scope="module")
def finished(model, tmp_path_factory):
    """A run of five steps with checkpoints after four and five; tests take copies."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(config(model), folder, report=quiet)
    return folder


def copy_of(run, target):
    """The run as it was before it had said that it is finished."""
    shutil.copytree(run, target)
    (target / "finished.json").unlink()
    return target


def same(run, whole):
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    last = checkpoint.latest(whole).name
    digests = [checkpoint.read_state(each / "checkpoints" / last).files for each in (run, whole)]
    assert digests[0] == digests[1] and "optimizer.pt" in digests[0]
    assert not checkpoint.damage(run / "checkpoints" / last)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("harm", [cut, flip, os.remove])
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "signals.pt", "state.json"])
def test_a_damaged_checkpoint_is_passed_over(harm, name, model, finished, tmp_path):
    run, said = copy_of(finished, tmp_path / "run"), []
    harm(run / "checkpoints" / "step-000005" / name)
    train(config(model), run, resume=True, report=said.append)
    assert "step-000005 is damaged" in said[0] and "step-000004" in " ".join(said)
    same(run, finished)


def test_without_a_whole_checkpoint_nothing_is_resumed_and_nothing_touched(
    model, finished, tmp_path
):
    run = copy_of(finished, tmp_path / "run")
    for saved in (run / "checkpoints").iterdir():
        cut(saved / "optimizer.pt")
    with pytest.raises(DataError, match="step-000004 is damaged: optimizer.pt is not what"):
        train(config(model), run, resume=True, report=quiet)
    assert (run / "metrics.jsonl").read_bytes() == (finished / "metrics.jsonl").read_bytes()


def test_a_checkpoint_of_the_first_format_is_still_read(model, finished, tmp_path):
    run = copy_of(finished, tmp_path / "run")
    path = run / "checkpoints" / "step-000005" / "state.json"
    old = {key: value for key, value in json.loads(path.read_text()).items() if key != "files"}
    path.write_text(json.dumps({**old, "format_version": 1}))
    train(config(model), run, resume=True, report=quiet)
    assert (run / "metrics.jsonl").read_bytes() == (finished / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("limit", [20_000, 150_000])
def test_a_file_system_that_takes_no_more(limit, model, finished, tmp_path):
    # The kernel refuses every file beyond the limit: first the weights, then the moments.
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(StorageFailure, match="cannot write .*step-000002.*--resume"):
            train(config(model), tmp_path / "run", report=quiet)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
    train(config(model), tmp_path / "run", resume=True, report=quiet)
    same(tmp_path / "run", finished)


def test_a_full_disk_in_the_metrics(model, tmp_path, monkeypatch):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(StorageFailure, match="metrics.jsonl.*No space left"):
        train(config(model), tmp_path / "run", report=quiet)


@pytest.mark.parametrize("calls", [1, 2, 3, 4])
def test_a_disk_that_is_full_for_a_moment(calls, model, finished, tmp_path, monkeypatch):
    real, left = files.os.fsync, [calls]

    def fsync(handle):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    run = copy_of(finished, tmp_path / "run")
    cut(run / "checkpoints" / "step-000005" / "optimizer.pt")
    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises((StorageFailure, OSError)):
        train(config(model), run, resume=True, report=quiet)
    monkeypatch.setattr(files.os, "fsync", real)
    train(config(model), run, resume=True, report=quiet)
    same(run, finished)


def test_a_run_that_is_still_going_is_not_resumed_beside_it(model, finished, tmp_path):
    run = copy_of(finished, tmp_path / "run")
    before = (run / "evaluations.jsonl").read_bytes()
    with Run(run, config(model)).locked():
        with pytest.raises(ConfigError, match="another process is training"):
            train(config(model), run, resume=True, report=quiet)
    assert (run / "evaluations.jsonl").read_bytes() == before
    train(config(model), run, resume=True, report=quiet)


def test_a_finished_run_says_so_and_stays_as_it_is(model, finished):
    before = sorted((path, path.stat().st_mtime_ns) for path in finished.rglob("*"))
    said = []
    train(config(model), finished, resume=True, report=said.append)
    assert "finished: 5 of 5 steps are done" in said[0] and len(said) == 1
    assert before == sorted((path, path.stat().st_mtime_ns) for path in finished.rglob("*"))


def test_more_steps_continue_to_the_run_that_had_them_from_the_start(model, tmp_path):
    constant = {"optimizer": {"learning_rate": 1e-2}}
    train(config(model, steps=5, **constant), tmp_path / "whole", report=quiet)
    train(config(model, steps=3, **constant), tmp_path / "run", report=quiet)
    longer = config(model, steps=5, **constant)
    train(longer, tmp_path / "run", resume=True, report=quiet)
    same(tmp_path / "run", tmp_path / "whole")
    with pytest.raises(ConfigError, match="has done 5 steps, more than 4"):
        train(config(model, steps=4, **constant), tmp_path / "run", resume=True, report=quiet)


def test_more_steps_are_refused_where_the_first_ones_would_have_been_others(
    model, finished, tmp_path
):
    run = copy_of(finished, tmp_path / "run")
    with pytest.raises(ConfigError, match="steps = 5, now 9.*'cosine'"):
        train(config(model, steps=9), run, resume=True, report=quiet)


def test_a_resume_with_other_threads_says_that_bytes_will_differ(model, finished, tmp_path):
    run, said, before = copy_of(finished, tmp_path / "run"), [], torch.get_num_threads()
    cut(run / "checkpoints" / "step-000005" / "optimizer.pt")
    try:
        torch.set_num_threads(before + 1)
        train(config(model), run, resume=True, report=said.append)
    finally:
        torch.set_num_threads(before)
    assert f"{before} threads, cpu, now" in said[2] and f"{before + 1} threads" in said[2]


def test_checkpoints_may_be_asked_for_more_often_when_a_run_is_resumed(model, finished, tmp_path):
    run = copy_of(finished, tmp_path / "run")
    cut(run / "checkpoints" / "step-000005" / "optimizer.pt")
    changed = config(model, checkpoint_every=1, keep_checkpoints=5)
    train(changed, run, resume=True, report=quiet)
    same(run, finished)


class Poison:
    """Credit that is NaN in some steps, as a broken reward model gives it."""

    def __init__(self, monkeypatch, steps):
        self.steps, self.real, self.calls = steps, train_module.credit_method, 0
        monkeypatch.setattr(train_module, "credit_method", self)

    def __call__(self, chosen):
        def method(batch):
            credit = self.real(chosen)(batch)
            self.calls += 1
            if self.calls - 1 in self.steps:
                credit = replace(credit, turn=torch.full_like(credit.turn, math.nan))
            return credit

        return method


def test_a_step_that_is_not_finite_changes_nothing_and_leaves_evidence(
    model, tmp_path, monkeypatch
):
    changes = {"steps": 3, "checkpoint_every": 1, "keep_checkpoints": 9}
    Poison(monkeypatch, {1})
    train(config(model, **changes), tmp_path, report=quiet)
    saved = [tmp_path / "checkpoints" / f"step-{step:06d}" for step in (1, 2, 3)]
    for name in ("model.safetensors", "optimizer.pt"):
        first, second, third = ((folder / name).read_bytes() for folder in saved)
        assert first == second != third
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["skipped"] for line in lines] == [False, True, False]
    assert [path.name for path in (tmp_path / "evidence").iterdir()] == ["step-000001.pt"]
    found = load_evidence(tmp_path / "evidence" / "step-000001.pt")
    assert found.step == 1 and math.isnan(found.loss) and found.skipped == ("policy",)
    found.batch.validate()
    assert found.batch.num_trajectories == 6
    assert found.suspects() == {"credit.turn": found.batch.num_turns}


def test_a_signal_whose_model_was_not_updated_counts_as_skipped():
    metrics = {"signal/values/skipped": 1.0, "signal/progress/skipped": 0.0, "skipped": 1.0}
    assert skipped_signals(metrics) == ("values",)


def test_evidence_that_is_damaged_or_something_else_is_named(finished):
    with pytest.raises(DataError, match="holds no evidence"):
        load_evidence(finished / "metrics.jsonl")
    with pytest.raises(DataError, match="holds no evidence"):
        load_evidence(finished / "checkpoints" / "step-000005" / "optimizer.pt")


def test_too_many_skipped_steps_in_a_row_stop_the_run_with_the_evidence(
    model, tmp_path, monkeypatch
):
    Poison(monkeypatch, {0, 2, 3, 4})
    settings = config(model, max_skipped_steps=3)
    with pytest.raises(RunStopped, match="3 steps in a row") as caught:
        train(settings, tmp_path, report=quiet)
    path = str(caught.value).split("'")[1]
    assert load_evidence(path).step == 4
    monkeypatch.undo()  # whatever was wrong is mended
    said = []
    train(settings, tmp_path, resume=True, report=said.append)
    assert "resumed at step 5" in said[0]


def test_the_row_of_skipped_steps_survives_a_resume(model, tmp_path, monkeypatch):
    Poison(monkeypatch, {1, 2, 3, 4})
    with ctrl_c(monkeypatch, explore_module, "rollout", call=3):
        train(config(model, max_skipped_steps=2), tmp_path, report=quiet)
    with pytest.raises(RunStopped, match="step-000002"):
        train(config(model, max_skipped_steps=2), tmp_path, resume=True, report=quiet)


def test_small_groups_leave_loss_and_baseline():
    trajs = [(0, True), (0, True), (0, False), (1, True), (1, False), (1, False), (2, True)]
    batch = make_batch(
        [Traj(group=group, rewards=[None], outcome=1.0, counts=ok) for group, ok in trajs]
    )
    kept, dropped = drop_small_groups(batch, 2)
    assert dropped == 2 and kept.traj_mask.tolist() == [True, True] + [False] * 5
    assert kept.outcome.tolist() == [1.0, 1.0] + [0.0] * 5
    assert drop_small_groups(batch, 1) == (batch, 0)
    with pytest.raises(NotTheAgentsFault, match=r"3 members left.*\[2, 1, 1\]"):
        drop_small_groups(batch, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"signals": {"values": {}}},
            "'grpo' does not read the signal 'values'.*gae_bilevel, gae_token, gae_turn, spa",
        ),
        (
            {"credit": {"method": "mapo"}, "env": {"id": "turngym/WebShop-v0", "size": "demo"}},
            "'mapo' learns from turn rewards, and turngym/WebShop-v0 gives none",
        ),
        (
            {"credit": {"method": "a2tgpo"}},
            "'a2tgpo' needs the signal 'info_gain', which test/Even-v0 cannot feed",
        ),
        ({"signals": {"prgress": {}}}, "Did you mean 'progress'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_before_anything_is_played(
    changes, message, model, tmp_path
):
    with pytest.raises((ConfigError, UnknownNameError), match=message):
        train(config(model, **changes), tmp_path / "run", report=quiet)
    assert not (tmp_path / "run").exists()


def test_turn_rewards_may_come_from_a_signal_instead(model, tmp_path):
    changes = {
        "credit": {"method": "mapo"},
        "env": {"id": "turngym/WebShop-v0", "size": "demo", "num_products": 100, "max_turns": 2},
        "signals": {"progress": {"as_reward": True}},
        "evaluation": {"episodes": 0},
        "policy": {"path": "tiny:web_shop"},
        "steps": 1,
    }
    train(config(model, **changes), tmp_path / "run", report=quiet)
    assert (tmp_path / "run" / "finished.json").exists()
