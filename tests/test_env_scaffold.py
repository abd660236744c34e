"""`turngym new env` and `turngym check` as a newcomer uses them."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from turngym.cli import app
from turngym.envs.scaffold import write_env
from turngym.errors import ConfigError


def shell(cwd, *command, stdin=""):
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, input=stdin, capture_output=True, text=True
    )


def test_the_scaffold_runs_its_own_test_and_keeps_the_contract(tmp_path):
    new = shell(tmp_path, "-m", "turngym", "new", "env", "lucky_number")
    assert new.returncode == 0 and "turngym play lucky_number_env:LuckyNumber-v0" in new.stdout
    own = shell(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert own.returncode == 0 and "2 passed" in own.stdout
    check = shell(tmp_path, "-m", "turngym", "check", "lucky_number_env:LuckyNumber-v0")
    assert check.returncode == 0 and "rules hold" in check.stdout
    play = shell(tmp_path, "-m", "turngym", "play", "lucky_number_env:LuckyNumber-v0", stdin="x\n")
    assert "Please answer with a number." in play.stdout


@pytest.mark.parametrize("name", ["", "Number", "9lives", "a-b", "a__b", "../up", "a.b"])
def test_a_name_that_is_no_module_name_is_refused_and_nothing_is_written(name, tmp_path):
    with pytest.raises(ConfigError, match="lower case"):
        write_env(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_never_overwritten(tmp_path):
    (tmp_path / "test_echo_env.py").write_text("mine")
    done = CliRunner().invoke(app, ["new", "env", "echo", "--folder", str(tmp_path)])
    assert done.exit_code == 2 and "exists already" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["test_echo_env.py"]


def test_check_lists_broken_rules_and_exits_with_1(tmp_path):
    made = write_env("loud", tmp_path)
    made.env.write_text(made.env.read_text().replace('"invalid_action"', '"bad"'))
    done = shell(tmp_path, "-m", "turngym", "check", "loud_env:Loud-v0")
    assert done.returncode == 1
    assert "broken: info: info['status'] is 'bad'" in done.stderr
