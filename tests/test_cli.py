"""The command line as a user meets it: output, exit codes, one clear line per error."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

import turngym
from guess import Guess
from turngym.cli import app
from turngym.errors import InfraFailure

turngym.register("tests/Guess-v0", Guess, max_turns=3)


def run(*arguments, stdin=""):
    return CliRunner().invoke(app, list(arguments), input=stdin)


def target(seed=0):
    env = turngym.make("tests/Guess-v0")
    env.reset(seed=seed)
    return env.target


def test_envs_lists_ids_with_their_first_docstring_line():
    done = run("envs")
    assert done.exit_code == 0
    (line,) = [line for line in done.output.splitlines() if line.startswith("tests/Guess-v0")]
    assert line.endswith("Guess a number from 1 to 100; reward 1 when it is found.")
    assert "CartPole" not in done.output


def test_playing_from_scripted_input_ends_with_the_outcome():
    done = run("play", "tests/Guess-v0", stdin=f"hello\n{target()}\n")
    assert done.exit_code == 0
    assert "Please answer with a number." in done.output
    assert "reward 0, invalid_action" in done.output
    assert "finished after 2 turns, outcome 1" in done.output


def test_settings_and_seed_reach_the_environment():
    done = run("play", "tests/Guess-v0", "max_turns=1", "--seed", "5", stdin="0\n50\n")
    assert "out of turns after 1 turns" in done.output
    done = run("play", "tests/Guess-v0", "--seed", "5", stdin=f"{target(5)}\n")
    assert "outcome 1" in done.output


@pytest.mark.parametrize("stdin", ["50\n", "50\n/quit\n60\n"])
def test_play_ends_politely_when_the_input_does(stdin):
    done = run("play", "tests/Guess-v0", stdin=stdin)
    assert done.exit_code == 0
    assert "stopped after 1 turns" in done.output


def test_slips_of_the_player_cost_no_turn():
    done = run("play", "tests/Guess-v0", stdin='/tools\n/help\n/call\n/call a {"b"\n/call a [1]\n')
    assert "no tools" in done.output and "not JSON" in done.output
    assert "stopped after 0 turns" in done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["play", "tests/Gess-v0"], "Did you mean 'tests/Guess-v0'?"),
        (["play", "tests/Guess-v0", "max_turn=3"], "Did you mean 'max_turns'?"),
        (["play", "tests/Guess-v0", "max_turns=0"], "a whole number from 1, got 0"),
        (["play", "tests/Guess-v0", "max_turns=few"], "a whole number from 1, got 'few'"),
        (["check", "tests/Gess-v0"], "Did you mean 'tests/Guess-v0'?"),
        (["play", "tests/Guess-v0", "max_turns"], "looks like key.subkey=value"),
        (["play", "no_such_module:Guess-v0"], "no Python module 'no_such_module'"),
    ],
)
def test_a_mistake_of_the_user_gives_one_line_and_exit_code_2(arguments, words):
    done = run(*arguments)
    assert done.exit_code == 2
    assert words in done.output and len(done.output.strip().splitlines()) == 1


def interrupted(*_):
    raise KeyboardInterrupt


def test_ctrl_c_ends_a_game_politely(monkeypatch):
    monkeypatch.setattr("builtins.input", interrupted)
    done = run("play", "tests/Guess-v0")
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, "stopped after 0 turns")


def test_ctrl_c_in_any_other_command_gives_exit_code_130(monkeypatch):
    monkeypatch.setattr("turngym.cli_envs.describe", interrupted)
    done = run("envs")
    assert (done.exit_code, done.output) == (130, "interrupted\n")


def test_check_passes_an_environment_that_keeps_the_contract():
    done = run("check", "tests/Guess-v0", "--seed", "3")
    assert done.exit_code == 0 and "14 rules hold" in done.output


def test_debug_shows_the_traceback():
    done = run("--debug", "play", "tests/Gess-v0")
    assert isinstance(done.exception, KeyError)


def test_a_failure_that_is_not_the_users_gives_exit_code_1(monkeypatch):
    def broken(self, action):
        raise InfraFailure("the search server is down")

    monkeypatch.setattr(Guess, "step", broken)
    done = run("play", "tests/Guess-v0", stdin="1\n")
    assert (done.exit_code, done.output.splitlines()[-1]) == (1, "error: the search server is down")


def test_every_command_has_help_with_an_example():
    for command in app.registered_commands:
        assert "Example" in (command.callback.__doc__ or ""), command.callback


def test_the_module_runs_and_prints_its_version():
    done = subprocess.run(
        [sys.executable, "-m", "turngym", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"turngym {turngym.__version__}\n"
