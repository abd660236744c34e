"""Credit and rewards of stored episodes: the run's own credit comes out again, other methods match
credit made on the spot, and other rewards lead to other credit."""

import json
import math

import pytest
import torch
from typer.testing import CliRunner

import killable  # noqa: F401  (registers the environment)
from killable import settings, tiny_weights
from turngym.cli import app
from turngym.errors import ConfigError, DataError, UnknownNameError
from turngym.rewards.reward import reward
from turngym.serial import read_jsonl
from turngym.trainers.batch import collate
from turngym.trainers.bookkeeping import in_order
from turngym.trainers.config import CreditSettings
from turngym.trainers.credit import CREDITS
from turngym.trainers.ledger import Credited, read_ledger, write_ledger
from turngym.trainers.offline import Recreditor, rescore, stored
from turngym.trainers.rubrics import find_reward, parse_rubric
from turngym.trainers.train import train


@reward("even_words", level="turn")
def even_words(trajectory):
    """1 for a reply of even length."""
    return tuple(float(len(turn.completion.message.content) % 2 == 0) for turn in trajectory.turns)


def same_credit(found, expected):
    # repr, because NaN is not equal to itself
    assert [repr(row) for row in found] == [repr(row) for row in expected]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_weights(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def runs(model, tmp_path_factory):
    """A finished run of each method."""
    folder = tmp_path_factory.mktemp("runs")
    for method in ("grpo", "oprl", "ppo"):
        train(settings(str(model), method), folder / method, report=lambda _: None)
    return folder


@pytest.mark.parametrize("method", ["grpo", "oprl", "ppo"])
def test_the_own_credit_of_a_run_comes_out_again(method, runs):
    config = json.loads((runs / method / "config.json").read_text())
    recreditor = Recreditor(runs / method, CreditSettings.model_validate(config["credit"]))
    rollouts = stored(runs / method)
    assert [each.label for each in rollouts] == [f"step-{step:06d}" for step in range(5)]
    rows: list[Credited] = []
    for each in rollouts:
        _, rows = recreditor(each)
        same_credit(rows, each.ledger())
    assert any(value for row in rows for value in row.turn) or method == "grpo"


def test_another_method_gives_what_it_would_have_given_on_the_spot(runs):
    (_, _, rollout, *_) = stored(runs / "grpo")
    trajectories, rows = Recreditor(runs / "grpo", CreditSettings(method="rloo"))(rollout)
    batch = collate(in_order(read_jsonl(rollout.path)))
    expected = CREDITS["rloo"](batch).turn
    assert [row.episode for row in rows] == [f"2/{g}/{m}" for g in range(2) for m in range(3)]
    torch.testing.assert_close(torch.tensor([v for row in rows for v in row.turn]), expected)
    assert all(len(row.turn) == len(t.turns) for row, t in zip(rows, trajectories, strict=True))


def test_columns_of_the_run_serve_other_methods_that_read_them(runs):
    # The critic's values of the run, and nothing measured anew: only the discount is another one.
    said = []
    chosen = CreditSettings.model_validate({"method": "gae_token", "gamma": 0.5})
    recreditor = Recreditor(runs / "ppo", chosen, report=said.append)
    own = stored(runs / "ppo")[-1]
    _, rows = recreditor(own)
    assert said == [] and rows[0].token != own.ledger()[0].token
    same_columns = [
        row.token_columns == old.token_columns for row, old in zip(rows, own.ledger(), strict=True)
    ]
    assert all(same_columns)


def test_signals_that_the_run_did_not_have_are_measured_and_learn_along(runs):
    said = []
    recreditor = Recreditor(runs / "grpo", CreditSettings(method="oprl"), report=said.append)
    first, *_, last = stored(runs / "grpo")
    _, before = recreditor(first)
    _, after = recreditor(last)
    assert "implicit_reward measured with" in said[0] and "learns along" in said[1]
    # The reward model starts as the start policy, whose log-ratio to the engine is 0.
    assert all(abs(v) < 1e-4 for row in before for v in row.turn_columns["step_reward"])
    assert any(abs(v) > 1e-4 for row in after for v in row.turn_columns["step_reward"])
    ours = Recreditor(runs / "oprl", CreditSettings(method="spa"), report=said.append)
    _, rows = ours(stored(runs / "oprl")[0])
    assert "progress is not in the checkpoint" in " ".join(said[2:])
    assert all(math.isfinite(v) for row in rows for v in row.turn)


def test_episodes_without_ids_can_be_credited_but_not_measured(tmp_path):
    from guess import Guess
    from test_rollout import Bisect, groups
    from turngym.serial import TrajectoryWriter
    from turngym.trainers.rollout import rollout

    path = tmp_path / "episodes.jsonl"
    with TrajectoryWriter(path) as writer:
        done = rollout(Guess, Bisect(), groups(2, size=2), on_episode=writer.write)
    (only,) = stored(path)
    _, rows = Recreditor(path, CreditSettings(method="rloo"))(only)
    assert [row.episode for row in rows] == [t.episode for t in done]
    with pytest.raises(ConfigError, match="needs the signals values.*rloo"):
        Recreditor(path, CreditSettings(method="gae_token"))(only)


def test_a_ledger_keeps_every_bit_and_names_a_damaged_line(tmp_path):
    third = torch.tensor(1 / 3).item()
    row = Credited(
        episode="0/0/1",
        method="mine",
        counts=True,
        outcome=third,
        rewards=(math.nan, 1e-30),
        turn=(float(f"{third:.9g}"), -0.0),
        token=((0.1, 0.2), ()),
        turn_columns={"gain": (math.nan, 2.5)},
    )
    path = tmp_path / "ledger.jsonl"
    write_ledger(path, [row, row])
    first, second = read_ledger(path)
    assert repr(first) == repr(second)
    assert torch.tensor(first.turn).tolist() == [third, 0.0] and first.token == row.token
    assert math.isnan(first.rewards[0]) and first.turn_columns["gain"][1] == 2.5
    path.write_text(path.read_text().splitlines()[0] + '\n{"format_version": 9}\n')
    with pytest.raises(DataError, match="line 2 .* format 9"):
        list(read_ledger(path))


def test_other_rewards_lead_to_other_credit(runs, tmp_path):
    target = tmp_path / "again"
    rubric = parse_rubric(["even_words"])
    found = list(rescore(runs / "grpo", target, rubric))
    assert {each.label for each in found} >= {"step-000004", "evaluation-000000-before-1"}
    (episode, *_) = read_jsonl(target / "trajectories" / "step-000000.jsonl")
    lengths = [len(turn.completion.message.content) for turn in episode.turns]
    assert [turn.reward for turn in episode.turns] == [float(n % 2 == 0) for n in lengths]
    # MAPO learns from turn rewards alone: it sees the new ones.
    rollout = stored(target)[0]
    assert rollout.ledger() == []
    trajectories, rows = Recreditor(target, CreditSettings(method="mapo"))(rollout)
    expected = CREDITS["mapo"](collate(trajectories)).turn
    torch.testing.assert_close(torch.tensor([v for row in rows for v in row.turn]), expected)
    with pytest.raises(ConfigError, match="exists already"):
        list(rescore(runs / "grpo", target, rubric))


def test_a_judge_that_fails_makes_no_zero(runs, tmp_path):
    from turngym.errors import JudgeFailure
    from turngym.rewards.reward import TrajectoryReward
    from turngym.rewards.rubric import Rubric, Weighted

    def judge(trajectory):
        if trajectory.episode.endswith("/1"):
            raise JudgeFailure("no verdict")
        return 0.5

    rubric = Rubric(terms=(Weighted(reward=TrajectoryReward("judge", judge)),))
    step = next(
        r for r in rescore(runs / "grpo", tmp_path / "r", rubric) if r.label == "step-000000"
    )
    assert step.statuses == {"judge_error": 2, "truncated": 4} and step.after == 0.5


def test_rewards_are_found_by_name_and_by_path():
    assert find_reward("length_guard").level == "turn"
    assert find_reward("test_offline:even_words").name == "even_words"
    with pytest.raises(UnknownNameError, match="Did you mean 'outcome'"):
        find_reward("outcom")
    with pytest.raises(ConfigError, match="cannot load"):
        find_reward("test_offline:nothing")
    with pytest.raises(ConfigError, match="is no reward"):
        find_reward("json:dumps")
    with pytest.raises(ConfigError, match="NAME=WEIGHT"):
        parse_rubric(["outcome=much"])
    with pytest.raises(ConfigError, match="at least one"):
        parse_rubric([])


def test_the_commands(runs, tmp_path):
    run = CliRunner().invoke
    out = str(tmp_path / "gigpo")
    done = run(app, ["credit", str(runs / "grpo"), "--method", "gigpo", "--out", out])
    assert done.exit_code == 0 and "step-000004: advantage of each turn" in done.output
    assert len(list((tmp_path / "gigpo").iterdir())) == 5
    wrong = run(app, ["credit", str(runs / "grpo"), "--method", "gigp"])
    assert wrong.exit_code == 2 and "Did you mean 'gigpo'" in wrong.output
    wrong = run(app, ["credit", str(runs / "grpo"), "gama=1", "--method", "gigpo"])
    assert wrong.exit_code == 2 and "Did you mean 'gamma'" in wrong.output
    wrong = run(app, ["credit", str(tmp_path / "nothing")])
    assert wrong.exit_code == 2 and "there is no run" in wrong.output
    wrong = run(app, ["credit", str(tmp_path)])
    assert wrong.exit_code == 2 and "holds no trajectories" in wrong.output
    target = str(tmp_path / "scored")
    arguments = ["rescore", str(runs / "grpo"), "--out", target, "--rewards"]
    done = run(app, [*arguments, "outcome=2,test_offline:even_words"])
    assert done.exit_code == 0 and "rescored" in done.output
    wrong = run(app, [*arguments, "outcome=2"])
    assert wrong.exit_code == 2 and "exists already" in wrong.output
