"""Rollout one step ahead, and groups that are played again because nothing can be learnt from them."""

import json
import os
import signal
import threading
import time

import pytest
import torch

import turngym
from interrupted import ctrl_c
from test_batch import trajectory, turn
from test_train import Short, config, quiet, weights
from turngym.errors import NotTheAgentsFault
from turngym.serial import read_jsonl
from turngym.trainers import checkpoint
from turngym.trainers import explore as explore_module
from turngym.trainers import train as train_module
from turngym.trainers.losses.mismatch import mismatch_weight
from turngym.trainers.plan import mixed, plan, refill
from turngym.trainers.train import train
from turngym.types import EpisodeStatus, user

STALE = {"rollout": {"max_staleness": 1}}


def versions(folder, step):
    """Policy versions of a step's turns."""
    played = read_jsonl(folder / "trajectories" / f"step-{step:06d}.jsonl")
    return {t.completion.policy_version for each in played for t in each.turns}


def metrics(folder):
    return [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_next_batch_is_played_while_the_optimizer_works(tmp_path, tiny_path, monkeypatch):
    real_rollout, real_update = explore_module.rollout, train_module.update
    playing, both = threading.Event(), []

    def rollout(*args, **kwargs):
        playing.set()
        try:
            return real_rollout(*args, **kwargs)
        finally:
            time.sleep(0.2)
            playing.clear()

    def update(*args, **kwargs):
        both.append(playing.wait(5) and threading.current_thread() is threading.main_thread())
        return real_update(*args, **kwargs)

    monkeypatch.setattr(explore_module, "rollout", rollout)
    monkeypatch.setattr(train_module, "update", update)
    train(config(tiny_path, evaluation={"episodes": 0}, **STALE), tmp_path, report=quiet)
    assert both == [True, True, True, False]  # nothing comes after the last one


def test_turns_are_at_most_one_version_old(tmp_path, tiny_path):
    train(config(tiny_path, **STALE), tmp_path / "stale", report=quiet)
    train(config(tiny_path), tmp_path / "fresh", report=quiet)
    assert [versions(tmp_path / "stale", step) for step in range(4)] == [{0}, {0}, {1}, {2}]
    assert [versions(tmp_path / "fresh", step) for step in range(4)] == [{0}, {1}, {2}, {3}]
    assert weights(tmp_path / "stale") != weights(tmp_path / "fresh")


def test_stale_tokens_are_weighted_in_the_loss(tmp_path, tiny_path, monkeypatch):
    assert config(tiny_path).loss.mismatch is None
    settings = config(tiny_path, optimizer={"learning_rate": 3e-2}, **STALE)
    assert settings.loss.mismatch is not None and settings.loss.mismatch.mode == "truncate"
    seen = []
    import turngym.trainers.losses.clip as clip

    def spy(batch, chosen):
        found = mismatch_weight(batch, chosen)
        seen.append((float(found.min()), float(found.max())))
        return found

    monkeypatch.setattr(clip, "mismatch_weight", spy)
    train(settings, tmp_path, report=quiet)
    half = len(seen) // 4
    assert all(abs(w - 1) < 1e-3 for pair in seen[:half] for w in pair)  # step 0 is on policy
    later = [w for pair in seen[half:] for w in pair]
    assert min(later) < 0.9 and max(later) == settings.loss.mismatch.high  # truncated


def test_a_stale_run_repeats_itself_and_resumes_to_the_same_bytes(
    tmp_path,
    tiny_path,
    monkeypatch,
):
    settings = config(tiny_path, **STALE)
    for name in ("one", "two"):
        train(settings, tmp_path / name, report=quiet)
    with ctrl_c(monkeypatch, train_module, "update", call=4):
        train(settings, tmp_path / "cut", report=quiet)
    assert checkpoint.read_state(checkpoint.latest(tmp_path / "cut")).step == 3
    played = (tmp_path / "cut/trajectories/step-000003.jsonl").read_bytes()
    train(settings, tmp_path / "cut", resume=True, report=quiet)
    assert (tmp_path / "cut/trajectories/step-000003.jsonl").read_bytes() == played
    for name in ("two", "cut"):
        assert weights(tmp_path / "one") == weights(tmp_path / name)
        for file in ("metrics.jsonl", "evaluations.jsonl"):
            assert (tmp_path / "one" / file).read_bytes() == (tmp_path / name / file).read_bytes()


def test_ctrl_c_while_the_next_batch_is_awaited_waits_for_it_and_keeps_it(
    tmp_path, tiny_path, monkeypatch
):
    settings = config(tiny_path, evaluation={"episodes": 0}, **STALE)
    train(settings, tmp_path / "whole", report=quiet)
    real, calls = explore_module.rollout, []

    def slow(*args, **kwargs):
        calls.append(None)
        if len(calls) == 3:  # played ahead; the main thread has long been waiting for it
            time.sleep(1)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)
        return real(*args, **kwargs)

    monkeypatch.setattr(explore_module, "rollout", slow)
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "cut", report=quiet)
    monkeypatch.setattr(explore_module, "rollout", real)
    assert checkpoint.read_state(checkpoint.latest(tmp_path / "cut")).step == 2
    assert len(list(read_jsonl(tmp_path / "cut/trajectories/step-000002.jsonl"))) == 6
    train(settings, tmp_path / "cut", resume=True, report=quiet)
    assert weights(tmp_path / "whole") == weights(tmp_path / "cut")
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")


@pytest.mark.parametrize("error", [RuntimeError("out of shelves"), NotTheAgentsFault("gone")])
def test_a_rollout_that_fails_ahead_is_heard_and_nothing_hangs(
    tmp_path,
    tiny_path,
    monkeypatch,
    error,
):
    real, calls = explore_module.rollout, []

    def failing(*args, **kwargs):
        calls.append(None)
        if len(calls) == 3:
            raise error
        return real(*args, **kwargs)

    monkeypatch.setattr(explore_module, "rollout", failing)
    settings = config(tiny_path, evaluation={"episodes": 0}, checkpoint_every=1, **STALE)
    with pytest.raises(type(error), match=str(error)):
        train(settings, tmp_path, report=quiet)
    assert checkpoint.read_state(checkpoint.latest(tmp_path)).step == 2  # what was done is kept
    monkeypatch.setattr(explore_module, "rollout", real)
    train(settings, tmp_path, resume=True, report=quiet)
    assert [row["step"] for row in metrics(tmp_path)] == [0, 1, 2, 3]
    assert versions(tmp_path, 3) == {2}


class Sometimes(Short):
    """Tasks "dull-*" end with the same score whatever is said; the others with a random one."""

    def tasks(self, split="train"):
        return tuple(f"{'dull' if i % 2 else 'lively'}-{i}" for i in range(8))

    def reset(self, *, seed=None, options=None):
        self.dull = options["task_id"].startswith("dull")
        self.good = 0
        return (user("say"),), {"task_id": options["task_id"]}

    def step(self, action):
        self.good += sum(action.content.encode()) + 1
        outcome = 0.5 if self.dull else (self.good % 97) / 97
        return (user("again"),), 0.0, False, False, {"outcome": outcome}


class AlwaysDull(Sometimes):
    def tasks(self, split="train"):
        return ("dull-0", "dull-1")


turngym.register("test/Sometimes-v0", Sometimes)
turngym.register("test/AlwaysDull-v0", AlwaysDull)


def test_groups_with_different_outcomes_by_hand():
    def member(group, outcome, status=EpisodeStatus.TERMINATED):
        return trajectory([turn([1], [2], opens=True)], group=group, outcome=outcome, status=status)

    broken = EpisodeStatus.ENV_ERROR
    assert mixed(
        [
            *(member("solved", 1.0) for _ in range(3)),
            *(member("mixed", o) for o in (1.0, 1.0, 0.0)),
            *(member("broken", o, s) for o, s in ((1.0, EpisodeStatus.TRUNCATED), (0.0, broken))),
        ]
    ) == {"mixed"}


def test_dull_groups_are_replaced(tmp_path, tiny_path):
    settings = config(tiny_path, env={"id": "test/Sometimes-v0"}, refills=8, groups_per_step=4)
    train(settings, tmp_path, report=quiet)
    for step, row in enumerate(metrics(tmp_path)):
        found = row["metrics"]
        played = list(read_jsonl(tmp_path / "trajectories" / f"step-{step:06d}.jsonl"))
        dull = {t.group for t in played if t.task_id.startswith("dull")}
        assert found["refill/left_out"] == len(dull) > 0
        assert found["refill/groups"] == len({t.group for t in played}) - 4 == len(dull)
        assert 1 <= found["refill/rounds"] <= 8
        assert row["num_turns"] == 4 * 3 * 2  # a whole batch, of lively groups alone
        assert found["status/truncated"] == len(played)  # nobody is forgotten in the counts
    again = config(tiny_path, env={"id": "test/Sometimes-v0"}, refills=0, groups_per_step=4)
    train(again, tmp_path / "plain", report=quiet)
    assert "refill/rounds" not in metrics(tmp_path / "plain")[0]["metrics"]


def test_refilling_is_bounded_and_a_step_without_any_mixed_group_is_still_made(
    tmp_path,
    tiny_path,
):
    settings = config(tiny_path, env={"id": "test/AlwaysDull-v0"}, refills=2, steps=1)
    train(settings, tmp_path, report=quiet)
    (row,) = metrics(tmp_path)
    assert row["metrics"]["refill/rounds"] == 2 and row["metrics"]["refill/groups"] == 4
    assert row["grad_norm"] == 0 and row["num_turns"] == 2 * 3 * 2


def test_refills_are_planned_from_seeds_alone_and_never_repeat_a_key():
    settings = config("x", groups_per_step=3)
    tasks = [f"t{i}" for i in range(50)]
    first = refill(settings, tasks, 4, 1, 3)
    assert first == refill(settings, tasks, 4, 1, 3)
    assert first[:2] == refill(settings, tasks, 4, 1, 2)
    everyone = [*plan(settings, tasks, 4), *first, *refill(settings, tasks, 4, 2, 3)]
    assert len({group.key for group in everyone}) == len({group.seed for group in everyone}) == 9


def test_a_run_with_refills_resumes_to_the_same_bytes(tmp_path, tiny_path, monkeypatch):
    settings = config(tiny_path, env={"id": "test/Sometimes-v0"}, refills=3, **STALE)
    train(settings, tmp_path / "whole", report=quiet)
    with ctrl_c(monkeypatch, train_module, "update", call=3):
        train(settings, tmp_path / "cut", report=quiet)
    train(settings, tmp_path / "cut", resume=True, report=quiet)
    assert weights(tmp_path / "whole") == weights(tmp_path / "cut")
    whole, cut = ((tmp_path / n / "metrics.jsonl").read_bytes() for n in ("whole", "cut"))
    assert whole == cut


def test_the_overlong_penalty_by_hand():
    from turngym.trainers.batch import collate
    from turngym.trainers.config import OverlongConfig
    from turngym.trainers.overlong import overlong_penalty, penalized

    config = OverlongConfig(max_tokens=10, buffer=4, factor=2.0)
    found = overlong_penalty(torch.tensor([0, 6, 7, 9, 10, 99]), config)
    assert found.tolist() == pytest.approx([0, 0, -0.5, -1.5, -2, -2])
    broken = EpisodeStatus.ENV_ERROR
    episodes = [
        trajectory([turn([1] * 30, [2] * 4, opens=True), turn([1], [2] * 3)], outcome=1.0),
        trajectory([turn([1], [2] * 6, opens=True)], outcome=0.25),
        trajectory([turn([1], [2] * 12, opens=True)], outcome=None, status=broken),
    ]
    batch, said = penalized(collate(episodes), config)
    assert batch.outcome.tolist() == pytest.approx([0.5, 0.25, 0.0])
    assert batch.success.tolist() == [True, True, False]
    assert said == pytest.approx({"overlong/penalty": -0.25, "overlong/share": 0.5})
