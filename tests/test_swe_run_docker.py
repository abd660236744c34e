"""`turngym swe run`: agents in real containers, resume, failures kept apart."""

import json

import pytest
from typer.testing import CliRunner

from swe_docker import require_docker
from swe_task import FILES, GOLD, ROW
from turngym.cli_swe import app
from turngym.serial import read_jsonl

pytestmark = pytest.mark.docker


@pytest.fixture(autouse=True, scope="module")
def daemon():
    require_docker()


@pytest.fixture
def rows(tmp_path):
    """Two tasks; the second one's image does not exist."""
    path = tmp_path / "tasks.jsonl"
    lost = {"instance_id": "tiny__sums-2", "image": "turngym/none:1"}
    both = [ROW | {"files": FILES}, ROW | {"files": FILES} | lost]
    path.write_text("".join(json.dumps(row) + "\n" for row in both))
    return path


def run(*arguments):
    return CliRunner().invoke(app, ["run", *map(str, arguments), "--timeout", "60"])


@pytest.mark.parametrize("actions", ["bash", "tools", "xml"])
def test_the_gold_agent_resolves_in_every_form_of_actions(rows, tmp_path, actions):
    rows.write_text(rows.read_text().splitlines()[0] + "\n")
    out = tmp_path / "out"
    done = run("--agent", "gold", "--dataset", rows, "--out", out, "--actions", actions)
    assert done.exit_code == 0 and "tiny__sums-1: resolved, 2 turns" in done.output, done.output
    (episode,) = read_jsonl(out / "trajectories.jsonl")
    assert episode.success and episode.turns[-1].info["verdict"] == "resolved"
    (line,) = (out / "predictions.jsonl").read_text().splitlines()
    assert "values[1:]" in json.loads(line)["model_patch"]
    assert json.loads((out / "gold.run.json").read_text())["resolved_ids"] == ["tiny__sums-1"]
    folder = out / "logs/run_evaluation/run/gold/tiny__sums-1"
    assert "test_total" in (folder / "test_output.txt").read_text()


def test_infra_failures_stay_apart_and_resume_tries_them_again(rows, tmp_path):
    out = tmp_path / "out"
    first = run("--agent", "gold", "--dataset", rows, "--out", out, "--workers", "2")
    assert first.exit_code == 3, first.output
    report = json.loads((out / "gold.run.json").read_text())
    assert report["resolved_ids"] == ["tiny__sums-1"] and report["unresolved_ids"] == []
    assert report["infra_failure_ids"] == ["tiny__sums-2"]
    assert "no such image" in report["failure_reasons"]["tiny__sums-2"]
    assert run("--agent", "gold", "--dataset", rows, "--out", out).exit_code != 0  # no overwriting
    rows.write_text(rows.read_text().replace("turngym/none:1", ROW["image"]))
    again = run("--agent", "gold", "--dataset", rows, "--out", out, "--resume")
    assert again.exit_code == 0 and "tiny__sums-1:" not in again.output, again.output
    report = json.loads((out / "gold.run.json").read_text())
    assert report["resolved_instances"] == 2 and report["infra_failure_ids"] == []
    assert len((out / "predictions.jsonl").read_text().splitlines()) == 2


def test_an_agent_that_never_submits_has_an_empty_answer(rows, tmp_path):
    rows.write_text(rows.read_text().splitlines()[0] + "\n")
    out = tmp_path / "out"
    agent = "random:```bash\nls\n```"
    done = run("--agent", agent, "--dataset", rows, "--out", out, "--max-turns", 2, "--model", "ls")
    assert done.exit_code == 0, done.output
    report = json.loads((out / "ls.run.json").read_text())
    assert report["empty_patch_ids"] == ["tiny__sums-1"] and report["failure_reasons"] == {}
    (episode,) = read_jsonl(out / "trajectories.jsonl")
    assert episode.status == "truncated" and len(episode.turns) == 2


def test_the_expert_plays_bundled_tasks_only(tmp_path, rows):
    done = run("--agent", "expert:2", "--dataset", "tiny", "--out", tmp_path / "a")
    assert done.exit_code != 0 and "0 to 1" in str(done.exception)
    done = run("--agent", "nobody", "--dataset", "tiny", "--out", tmp_path / "b")
    assert "unknown agent" in str(done.exception)
    assert GOLD
