"""kill -9 at any moment: the resumed run has the metrics and weights of the one never stopped.

Catches: state that no checkpoint holds (a generator, a model, a position in the data), files that are
torn where they are read again, checkpoints that are taken for whole, lines written twice or lost.
"""

import itertools
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from killable import METHODS, tiny_weights

HERE = Path(__file__).resolve().parent
KILLED = -9
# The machine may be busy: a run takes a second of its own, and a fixture makes five of them.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Trainer:
    """The process of killable.py."""

    def __init__(self, model: Path) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
        command = [sys.executable, str(HERE / "killable.py"), str(model)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=environment, **pipes)

    def run(self, folder: Path, method: str, **when) -> int:
        """The exit code of a run, -9 if it was killed in time."""
        job = {"folder": str(folder), "method": method, **when}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())["code"]

    def close(self) -> None:
        """Let it end."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    made = Trainer(tiny_weights(tmp_path_factory.mktemp("model")))
    yield made
    made.close()


@pytest.fixture(scope="module")
def whole(trainer, tmp_path_factory):
    """For each method a run that was never stopped, its seconds and its changes to the disk."""
    folder = tmp_path_factory.mktemp("whole")
    for method in METHODS:
        assert trainer.run(folder / method, method) == 0
    facts = {name: json.loads((folder / f"{name}.facts").read_text()) for name in METHODS}
    return {name: (folder / name, facts[name]) for name in METHODS}


def remains(run: Path) -> dict[str, bytes]:
    """Every byte that must come out the same."""
    names = ["metrics.jsonl", "evaluations.jsonl", "config.json", "finished.json"]
    found = {name: (run / name).read_bytes() for name in names}
    for path in sorted([*run.glob("credit/*"), *run.glob("details/*")]):
        found[f"{path.parent.name}/{path.name}"] = path.read_bytes()
    for checkpoint in sorted((run / "checkpoints").iterdir()):
        for path in sorted(checkpoint.iterdir()):
            found[f"{checkpoint.name}/{path.name}"] = path.read_bytes()
    for path in sorted((run / "trajectories").iterdir()):
        found[path.name] = repr(sorted(map(timeless, path.read_text().splitlines()))).encode()
    return found


def timeless(line: str) -> str:
    """A trajectory without its seconds."""
    data = json.loads(line)
    del data["seconds"]
    for turn in data["turns"]:
        del turn["completion"]["seconds"]
    return json.dumps(data, sort_keys=True)


def same(run: Path, whole: Path) -> None:
    found, expected = remains(run), remains(whole)
    assert sorted(found) == sorted(expected)
    assert [name for name in expected if found[name] != expected[name]] == []


@pytest.mark.parametrize("method", sorted(METHODS))
def test_killed_at_random_moments(method, trainer, whole, tmp_path):
    expected, facts = whole[method]
    chance = random.Random(f"kill {method}")
    runs = (tmp_path / f"run{number}" for number in itertools.count())
    run, kills = next(runs), 0
    while kills < 5:
        code = trainer.run(run, method, kill_after=chance.uniform(0, facts["seconds"]))
        kills += code == KILLED
        if (run / "finished.json").exists():
            same(run, expected)
            run = next(runs)
    assert trainer.run(run, method) == 0
    same(run, expected)


@pytest.mark.parametrize("method", ["grpo", "oprl"])
def test_killed_before_any_change_of_the_disk(method, trainer, whole, tmp_path):
    expected, facts = whole[method]
    changes = facts["changes"]
    assert changes > 50  # settings, trajectories, metrics, four checkpoints, evaluations
    chance = random.Random(f"disk {method}")
    for number, kill_at in enumerate(sorted(chance.sample(range(1, changes + 1), 7))):
        run = tmp_path / f"run{number}"
        assert trainer.run(run, method, kill_at=kill_at) == KILLED
        # and once more while it resumes
        trainer.run(run, method, kill_at=chance.randrange(1, 12))
        assert trainer.run(run, method) == 0
        same(run, expected)
