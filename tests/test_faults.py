"""Faults in the middle of training: what broke is counted and enters neither loss nor baseline."""

import json
import threading

import pytest
import torch
from safetensors.torch import load_file

import killable  # noqa: F401  (registers test/Even-v0)
import turngym
from killable import Even, settings, tiny_weights
from turngym.errors import InfraFailure, JudgeFailure, NotTheAgentsFault, StorageFailure
from turngym.trainers import explore as explore_module
from turngym.trainers.batch import collate
from turngym.trainers.config import TrainConfig
from turngym.trainers.credit import CREDITS
from turngym.trainers.train import train


class Server:
    """What simulators and judges ask; down from the given call on, for so many calls."""

    lock = threading.Lock()
    calls, first, last = 0, 0, 0

    @classmethod
    def down(cls, first, last):
        cls.calls, cls.first, cls.last = 0, first, last

    @classmethod
    def ask(cls):
        with cls.lock:
            cls.calls += 1
            if cls.first <= cls.calls <= cls.last:
                raise InfraFailure("503 from the simulator")


class Served(Even):
    """Even, with a simulated user behind a server."""

    def step(self, action):
        Server.ask()
        return super().step(action)


class Judged(Even):
    """Even, with a judge that times out for some replies and is wrong about none."""

    def step(self, action):
        if self.turn == 1 and len(action.content) % 3 == 0:
            raise JudgeFailure("no verdict in 60 s")
        return super().step(action)


class Buggy(Even):
    def step(self, action):
        raise KeyError("bug")


for kind in (Served, Judged, Buggy):
    turngym.register(f"test/{kind.__name__}-v0", kind)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_weights(tmp_path_factory.mktemp("model"))


def config(model, **changes):
    made = settings(str(model), "grpo").model_dump(mode="json")
    evaluation = {"episodes": 0}
    return TrainConfig.model_validate(
        {**made, "evaluation": evaluation, "outage_wait_s": 0, "steps": 3, **changes}
    )


def metrics(folder):
    rows = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(row)["metrics"] for row in rows]


def quiet(_):
    pass


def weights(folder):
    return sorted(folder.glob("checkpoints/*/model.safetensors"))[-1].read_bytes()


def test_an_outage_within_a_step_is_counted_and_the_step_goes_on(model, tmp_path):
    Server.down(3, 5)
    env = {"id": "test/Served-v0"}
    train(config(model, env=env), tmp_path, report=quiet)
    first, *others = metrics(tmp_path)
    assert first["status/infra_error"] == 3 and first["status/truncated"] == 3
    assert first["dropped_groups"] <= 1
    assert all("status/infra_error" not in each for each in others)


def test_an_outage_of_a_whole_step_is_waited_for_to_the_same_bytes(model, tmp_path):
    env, said = {"id": "test/Served-v0"}, []
    Server.down(0, 0)
    train(config(model, env=env), tmp_path / "calm", report=quiet)
    Server.down(1, 12)  # both attempts of the first step
    train(config(model, env=env), tmp_path / "storm", report=said.append)
    assert sum("503 from the simulator" in line for line in said) == 2
    assert weights(tmp_path / "calm") == weights(tmp_path / "storm")
    assert metrics(tmp_path / "calm") == metrics(tmp_path / "storm")


def test_an_outage_without_end_stops_the_run_and_a_bug_stops_it_at_once(model, tmp_path):
    Server.down(1, 10**9)
    with pytest.raises(NotTheAgentsFault, match="503"):
        train(config(model, env={"id": "test/Served-v0"}), tmp_path / "a", report=quiet)
    assert Server.calls == 6 * 4
    said = []
    with pytest.raises(NotTheAgentsFault, match="bug"):
        train(config(model, env={"id": "test/Buggy-v0"}), tmp_path / "b", report=said.append)
    assert not any("again" in line for line in said)


@pytest.mark.parametrize("method", ["grpo", "rloo", "gigpo", "reinforce_pp"])
def test_what_broke_enters_neither_loss_nor_baseline(method, model, tmp_path, monkeypatch):
    # The same step with the broken episodes and without them: equal credit, loss, weights.
    chosen = config(model, env={"id": "test/Judged-v0"}, credit={"method": method}, group_size=6)
    train(chosen.model_copy(update={"steps": 1}), tmp_path / "run", report=quiet)
    (path,) = (tmp_path / "run" / "trajectories").iterdir()
    played = sorted(turngym.serial.read_jsonl(path), key=lambda t: t.episode)
    counted = [t for t in played if t.status.counts]
    assert 4 <= len(counted) < 12 and {t.status for t in played} == {"judge_error", "truncated"}
    both = CREDITS[method](collate(played)).turn
    kept = [t.status.counts for t in played for _ in t.turns]
    torch.testing.assert_close(both[torch.tensor(kept)], CREDITS[method](collate(counted)).turn)
    results = []
    for name, trajectories in (("all", played), ("good", counted)):
        monkeypatch.setattr(explore_module, "rollout", lambda *_, found=trajectories, **__: found)
        train(chosen.model_copy(update={"steps": 1}), tmp_path / name, report=quiet)
        (line,) = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        saved = load_file(
            sorted((tmp_path / name / "checkpoints").iterdir())[-1] / "model.safetensors"
        )
        changed = torch.cat([saved[key].flatten() for key in sorted(saved)])
        results.append((json.loads(line), changed))
    (one, with_all), (other, with_good) = results
    assert one["loss"] == pytest.approx(other["loss"], abs=1e-6)
    assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4) and one["grad_norm"] > 0
    torch.testing.assert_close(
        with_all, with_good, atol=2e-4, rtol=0
    )  # Adam divides by tiny moments
    for name in ("success", "outcome", "turns"):
        assert one["metrics"][name] == other["metrics"][name]


def test_groups_below_the_minimum_are_left_out_and_counted(model, tmp_path):
    Server.down(2, 3)  # whoever comes second and third: two members of two groups of three
    env = {"id": "test/Served-v0"}
    train(config(model, env=env, min_group_size=3, steps=1), tmp_path, report=quiet)
    (row,) = metrics(tmp_path)
    assert row["status/infra_error"] == 2 and row["dropped_groups"] >= 1


def test_no_group_of_the_minimum_size_stops_the_run(model, tmp_path):
    with pytest.raises(NotTheAgentsFault, match="4 members left"):
        train(config(model, min_group_size=4), tmp_path, report=quiet)


def test_a_full_disk_in_the_trajectories_stops_with_one_clear_error(model, tmp_path, monkeypatch):
    real = explore_module.rollout

    def on_a_full_disk(*args, on_episode, **kwargs):
        def write(trajectory):
            raise OSError(28, "No space left on device")

        return real(*args, on_episode=write, **kwargs)

    monkeypatch.setattr(explore_module, "rollout", on_a_full_disk)
    with pytest.raises(StorageFailure, match="No space left.*--resume"):
        train(config(model), tmp_path, report=quiet)
