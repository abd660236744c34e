"""Figures arrive where the real packages read them; a logger that fails ends no run."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import killable
from killable import settings, tiny_weights
from turngym.errors import ConfigError, MissingExtraError, UnknownNameError
from turngym.trainers import loggers as loggers_module
from turngym.trainers.config import TrainConfig
from turngym.trainers.loggers import LOGGERS, find_loggers
from turngym.trainers.train import train

HERE = Path(__file__).resolve().parent

RUN = """
import sys
from killable import settings
from turngym.trainers.config import TrainConfig
from turngym.trainers.train import train

model, folder, loggers = sys.argv[1], sys.argv[2], sys.argv[3].split(",")
made = settings(model, "grpo").model_dump(mode="json")
config = TrainConfig.model_validate({**made, "loggers": loggers})
from pathlib import Path
train(config, Path(folder), resume=(Path(folder) / "config.json").exists())
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_weights(tmp_path_factory.mktemp("model"))


def run_with(names: str, model: Path, folder: Path) -> str:
    """A run in a process of its own, since these packages leave threads and processes."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE), *(entry for entry in sys.path if entry)]),
        "WANDB_MODE": "offline",
        "TRACKIO_DIR": str(folder.parent / "trackio"),
        "HOME": str(folder.parent),
    }
    command = [sys.executable, "-c", RUN, str(model), str(folder), names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def lines(folder: Path, name: str = "metrics.jsonl") -> list[dict]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


@pytest.mark.slow
def test_tensorboard_reads_every_figure_and_a_resumed_run_once(model, tmp_path):
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    folder = tmp_path / "run"
    run_with("tensorboard", model, folder)
    # As if killed after the fourth step's checkpoint: the fifth is logged again.
    (folder / "finished.json").unlink()
    last = folder / "checkpoints" / "step-000005"
    (last / "optimizer.pt").write_bytes(b"torn")
    run_with("tensorboard", model, folder)
    events = event_accumulator.EventAccumulator(str(folder / "tensorboard")).Reload()
    for name in ("success", "entropy", "status/truncated"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        expected = [(line["step"] + 1, line["metrics"][name]) for line in lines(folder)]
        assert found == [(step, pytest.approx(value)) for step, value in expected]
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4, 5]
    evaluated = {event.step: event.value for event in events.Scalars("eval/during-1/success")}
    recorded = [r for r in lines(folder, "evaluations.jsonl") if r["label"] == "during-1"]
    assert evaluated == {row["step"]: pytest.approx(row["success"]["value"]) for row in recorded}
    assert len(recorded) == 2


def log_records(path: Path):
    """Records of a wandb file: LevelDB's log format after a header of seven bytes."""
    data, place, whole = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        place += 7
        whole += data[place : place + length]
        place += length
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


@pytest.mark.slow
def test_wandb_offline_has_every_step(model, tmp_path):
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    folder = tmp_path / "run"
    run_with("wandb", model, folder)
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    identity = (folder / "identity.txt").read_text().strip()
    assert identity in path.name
    history = {}
    for data in log_records(path):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = {i.key or "/".join(i.nested_key): i.value_json for i in record.history.item}
            history.setdefault(int(items["_step"]), {}).update(items)
    for line in lines(folder):
        row = history[line["step"] + 1]
        assert float(row["success"]) == line["metrics"]["success"]
        assert float(row["learning_rate"]) == pytest.approx(line["learning_rate"])
    assert "eval/before-1/success" in history[0]


@pytest.mark.slow
def test_trackio_has_every_step(model, tmp_path):
    pytest.importorskip("trackio")
    folder = tmp_path / "run"
    run_with("trackio", model, folder)
    read = (
        "import json; from trackio.sqlite_storage import SQLiteStorage as S;"
        "(name,) = S.get_runs('turngym'); print(json.dumps([name, S.get_logs('turngym', name)]))"
    )
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio"), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", read], env=environment, capture_output=True, text=True, check=True
    )
    name, rows = json.loads(done.stdout.splitlines()[-1])
    assert name == f"run-{(folder / 'identity.txt').read_text().strip()}"
    outcomes = {row["step"]: row["outcome"] for row in rows if "outcome" in row}
    assert outcomes == {line["step"] + 1: line["metrics"]["outcome"] for line in lines(folder)}


class Broken:
    """A logger that opens and fails at the third call."""

    calls = 0
    closed = False

    def __init__(self, opening):
        assert opening.folder.is_dir() and opening.settings["steps"] == 5

    def log(self, step, values):
        Broken.calls += 1
        if Broken.calls == 3:
            raise ConnectionError("the dashboard is gone")

    def close(self):
        Broken.closed = True


class Kept:
    """A logger of one's own."""

    rows: list = []
    closed = False

    def __init__(self, opening):
        pass

    def log(self, step, values):
        Kept.rows.append((step, dict(values)))

    def close(self):
        Kept.closed = True


def refuses(opening):
    """A logger that cannot even be opened."""
    raise TimeoutError("no login")


def with_loggers(model, *names):
    made = settings(str(model), "grpo").model_dump(mode="json")
    return TrainConfig.model_validate({**made, "loggers": names})


def test_a_logger_that_fails_is_left_out_and_the_run_goes_on(model, tmp_path):
    said = []
    names = [f"test_loggers:{name}" for name in ("Broken", "refuses", "Kept")]
    train(with_loggers(model, *names), tmp_path / "with", report=said.append)
    failures = [line for line in said if "is left out from now on" in line]
    assert len(failures) == 2
    assert any("Broken" in line and "the dashboard is gone" in line for line in failures)
    assert any("refuses" in line and "no login" in line for line in failures)
    assert Broken.calls == 3 and not Broken.closed
    steps = [step for step, values in Kept.rows if "loss" in values]
    assert steps == [1, 2, 3, 4, 5] and Kept.closed
    train(with_loggers(model), tmp_path / "without", report=lambda _: None)
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes()


def test_a_logger_that_there_is_not_is_refused_before_the_run_begins(model, tmp_path, monkeypatch):
    with pytest.raises(UnknownNameError, match="Did you mean 'tensorboard'"):
        train(with_loggers(model, "tensorbord"), tmp_path / "run", report=lambda _: None)
    with pytest.raises(ConfigError, match="cannot load the logger"):
        train(with_loggers(model, "test_loggers:Nothing"), tmp_path / "run", report=print)
    monkeypatch.setattr(loggers_module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"turngym\[wandb\]"):
        train(with_loggers(model, "wandb"), tmp_path / "run", report=print)
    assert not (tmp_path / "run").exists()


def test_every_registered_logger_names_its_package():
    assert set(LOGGERS) == {"tensorboard", "trackio", "wandb"}
    for name in LOGGERS:
        assert LOGGERS[name].package and LOGGERS[name].extra  # type: ignore[attr-defined]
    assert find_loggers([]) == {} and killable.METHODS
