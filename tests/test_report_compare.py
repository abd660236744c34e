"""Runs compared: statistics, seeds, differences, plots; expected values by hand."""

import json
import math

import pytest

from reports import by_name, command, episode, group, small_run, write, write_run
from turngym.errors import DataError, UnknownNameError
from turngym.report.curves import curves, merge, smooth
from turngym.report.diff import compare, differences
from turngym.report.folder import RunFolder
from turngym.report.intervals import mean_interval, sign_test, student_t
from turngym.report.plot import draw_curves
from turngym.types import EpisodeStatus


@pytest.fixture
def run(tmp_path):
    return small_run(tmp_path / "run")


def test_merging_seeds_by_hand(tmp_path):
    runs = [
        curves(RunFolder.open(write_run(tmp_path / name, [group("0/0", outcomes)])))
        for name, outcomes in (("a", [1.0, 0.0]), ("b", [1.0, 1.0]))
    ]
    merged = by_name(merge(runs))["success"]
    # mean of .5 and 1 is .75; t(1) = 12.706; sd = .35355; half = 12.706 * .35355 / sqrt(2)
    assert merged.y == (0.75,) and merged.high == pytest.approx((3.9265,), abs=1e-4)


def test_smoothing_leaves_gaps_out():
    assert smooth([1.0, None, 3.0, 5.0], 2) == [1.0, 1.0, 3.0, 4.0]
    assert smooth([None], 3) == [None]


def test_statistics_against_tables():
    assert student_t(4) == 2.776
    # Above the table by an expansion: t(40) = 2.0211, t(120) = 1.9799.
    assert [student_t(40), student_t(120)] == pytest.approx([2.0211, 1.9799], abs=2e-3)
    assert math.isinf(mean_interval([3.0]).high)
    assert sign_test(0, 0) == 1.0 and sign_test(0, 5) == 0.0625  # 2 / 2^5
    assert sign_test(12, 3) == sign_test(3, 12) == pytest.approx(1152 / 32768)
    assert sign_test(4, 4) == 1.0


def test_comparing_runs_by_hand(tmp_path):
    def played(outcomes):
        return [
            episode(f"test-{i}/0", outcome, task=f"t{i}", group=f"test-{i}")
            for i, outcome in enumerate(outcomes)
        ]

    a = write_run(
        tmp_path / "a", [[]], evaluations={"000001-after-1": played([1.0, 0.0, 0.5, 1.0])}
    )
    b = write_run(
        tmp_path / "b",
        [[]],
        evaluations={"000001-after-1": played([1.0, 1.0, 1.0, 0.0])},
        config={"seed": 7, "credit": {"method": "rloo"}},
    )
    found = compare(RunFolder.open(a), RunFolder.open(b))
    assert [(d.key, d.a, d.b) for d in found.settings] == [
        ("credit.method", "grpo", "rloo"),
        ("seed", 0, 7),
    ]
    (stage,) = found.stages
    assert stage.wins == ("t1", "t2") and stage.losses == ("t3",) and stage.tasks == 4
    assert stage.gain.value == pytest.approx((0 + 1 + 0.5 - 1) / 4)
    assert stage.p_value == 1.0
    done = command("diff", a, b)
    assert "credit.method: 'grpo' -> 'rloo'" in done.output and "won: t1, t2" in done.output
    data = json.loads(command("diff", a, b, "--json").output)
    assert data["stages"][0]["losses"] == ["t3"]


def test_a_task_that_broke_in_one_run_is_not_compared(tmp_path):
    broken = episode("0", None, task="t0", success=None, status=EpisodeStatus.ENV_ERROR)
    write(tmp_path / "a.jsonl", [broken, episode("1", 0.0, task="t1")])
    write(tmp_path / "b.jsonl", [episode("0", 1.0, task="t0"), episode("1", 1.0, task="t1")])
    (stage,) = compare(*(RunFolder.open(tmp_path / f"{n}.jsonl") for n in "ab")).stages
    assert stage.tasks == 1 and stage.wins == ("t1",)


def test_differences_name_leaves():
    assert [d.key for d in differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}, "d": 0})] == [
        "a.c",
        "d",
    ]


def test_plots_in_every_format(run, tmp_path):
    pytest.importorskip("matplotlib")
    folders = [RunFolder.open(run)]
    names = ("success", "entropy")
    png = draw_curves(folders, tmp_path / "c.png", names=names)
    assert png.read_bytes().startswith(b"\x89PNG")
    first = draw_curves(folders, tmp_path / "c.svg", names=names).read_text()
    again = draw_curves(folders, tmp_path / "d.svg", names=names).read_text()
    assert first == again and ">success<" in first and "#0072b2" in first.lower()
    assert draw_curves(folders, tmp_path / "c.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(UnknownNameError, match="Did you mean 'success'"):
        draw_curves(folders, tmp_path / "c.png", names=["succes"])
    with pytest.raises(DataError, match="must end in"):
        draw_curves(folders, tmp_path / "c.gif")


def test_colours_are_told_apart_by_the_colour_blind():
    # Okabe & Ito, "Color Universal Design" (2008), their published values.
    from turngym.report.plot import COLOURS

    okabe_ito = {"#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00"}
    assert set(COLOURS) <= okabe_ito | {"#CC79A7"} and len(set(COLOURS)) == len(COLOURS)
