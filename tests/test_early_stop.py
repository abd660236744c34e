"""Early stopping: on held-out success, says so, and stays stopped when resumed."""

import json

import pytest
from pydantic import ValidationError

from test_train import config
from turngym.trainers import checkpoint
from turngym.trainers.evaluate import Evaluation
from turngym.trainers.examine import stalled
from turngym.trainers.intervals import wilson
from turngym.trainers.run import Run
from turngym.trainers.train import train


def evaluation(successes):
    found = wilson(successes / 10, 10)
    return Evaluation(
        episodes=10,
        counted=10,
        tasks=10,
        success=found,
        outcome=found,
        turns=1.0,
        statuses={},
    )


@pytest.mark.parametrize(
    ("values", "patience", "expected"),
    [
        ([3], 1, False),
        ([3, 3], 1, True),  # as good is not better
        ([3, 4], 1, False),
        ([3, 4, 4], 1, True),
        ([3, 4, 2], 2, False),
        ([3, 4, 2, 4], 2, True),
        ([3, 4, 2, 5], 2, False),
        ([3, 2, 1, 0], 0, False),  # switched off
    ],
)
def test_patience_by_hand(tmp_path, values, patience, expected):
    settings = config("x", evaluation={"patience": patience, "every": 1})
    run = Run.start(tmp_path, settings)
    run.log_evaluation(0, "expert", evaluation(10))  # the mark, not a rival
    for step, successes in enumerate(values):
        label = "during" if step else "before"
        run.log_evaluation(step, f"{label}-1", evaluation(successes))
        run.log_evaluation(step, f"{label}-0", evaluation(step))  # greedy always improves
    assert stalled(run) == expected


def test_a_run_stops_early_says_so_and_stays_stopped(tmp_path, tiny_path):
    # Random weights never say anything that the environment calls a success.
    settings = config(
        tiny_path,
        steps=9,
        env={"id": "test/Short-v0"},
        optimizer={"learning_rate": 1e-9},
        evaluation={"episodes": 4, "every": 1, "patience": 2, "temperatures": [0.0]},
    )
    said = []
    run = train(settings, tmp_path, report=said.append)
    assert any("stopped early after 2 of 9 steps" in text for text in said)
    steps = [
        json.loads(row)["step"] for row in (tmp_path / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == [0, 1]
    assert checkpoint.read_state(checkpoint.latest(tmp_path)).step == 2
    labels = [row["label"] for row in run.evaluations()]
    assert labels == ["before-0", "during-0", "during-0", "after-0"]
    said.clear()
    train(settings, tmp_path, resume=True, report=said.append)
    assert any("2 of 9 steps are done (stopped early)" in text for text in said)
    assert [row["label"] for row in run.evaluations()] == labels


def test_patience_without_evaluations_is_refused():
    with pytest.raises(ValidationError, match="evaluation.every"):
        config("x", evaluation={"patience": 2})
