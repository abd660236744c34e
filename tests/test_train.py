"""The whole loop on a tiny random policy: learns, repeats itself to the byte, survives Ctrl-C."""

import json
import signal

import pytest
import torch

import turngym
from interrupted import ctrl_c
from turngym import TextEnv
from turngym.agents.tiny import tiny_model, tiny_tokenizer
from turngym.errors import ConfigError, NotTheAgentsFault, UnknownNameError
from turngym.serial import read_jsonl
from turngym.trainers import checkpoint
from turngym.trainers import explore as explore_module
from turngym.trainers import train as train_module
from turngym.trainers.config import TrainConfig, load_recipe, recipe_names
from turngym.trainers.credit import credit_method
from turngym.trainers.plan import plan
from turngym.trainers.train import train
from turngym.types import user


class Short(TextEnv):
    """Two turns; the outcome is the share of replies that begin with an even token byte."""

    max_turns = 2
    broken = False

    def reset(self, *, seed=None, options=None):
        self.good = 0
        return (user(f"say {int(self.np_random.integers(5))}"),), {}

    def step(self, action):
        if self.broken:
            raise RuntimeError("shelf fell down")
        self.good += len(action.content.encode()) % 2 == 0
        return (user("again"),), 0.0, False, False, {"outcome": self.good / 2}


class Broken(Short):
    broken = True


turngym.register("test/Short-v0", Short)
turngym.register("test/Broken-v0", Broken)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tiny_model(seed=3).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


def config(path, **changes):
    return TrainConfig.model_validate(
        {
            "env": {"id": "test/Short-v0"},
            "policy": {"path": str(path)},
            "optimizer": {"learning_rate": 1e-3},
            "sampling": {"max_new_tokens": 4},
            "evaluation": {"episodes": 4},
            "steps": 4,
            "groups_per_step": 2,
            "group_size": 3,
            "checkpoint_every": 2,
            **changes,
        }
    )


def weights(folder):
    found = checkpoint.latest(folder)
    assert found is not None
    return (found / "model.safetensors").read_bytes()


def quiet(_):
    pass


def test_the_same_settings_give_the_same_bytes(tmp_path, model_path):
    for name in "ab":
        train(config(model_path), tmp_path / name, report=quiet)
    for file in ("metrics.jsonl", "evaluations.jsonl"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    train(config(model_path, seed=1), tmp_path / "c", report=quiet)
    assert weights(tmp_path / "a") != weights(tmp_path / "c")
    lines = (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1, 2, 3]
    assert json.loads(lines[0])["metrics"]["status/truncated"] == 6
    assert len(list(read_jsonl(tmp_path / "a" / "trajectories" / "step-000003.jsonl"))) == 6
    assert len(list((tmp_path / "a" / "checkpoints").iterdir())) == 2


@pytest.mark.parametrize("at", [1, 3])
def test_an_interrupted_run_continues_to_the_same_bytes(tmp_path, model_path, monkeypatch, at):
    settings = config(model_path)
    train(settings, tmp_path / "whole", report=quiet)
    said = []
    with ctrl_c(monkeypatch, explore_module, "rollout", call=at + 1):
        train(settings, tmp_path / "cut", report=said.append)
    assert "--resume" in said[-1]
    train(settings, tmp_path / "cut", resume=True, report=quiet)
    for file in ("metrics.jsonl", "evaluations.jsonl"):
        whole, cut = ((tmp_path / name / file).read_bytes() for name in ("whole", "cut"))
        assert whole == cut
    assert weights(tmp_path / "whole") == weights(tmp_path / "cut")


def test_ctrl_c_in_an_update_lets_it_finish_and_is_saved(tmp_path, model_path, monkeypatch):
    settings = config(model_path, checkpoint_every=100)
    train(settings, tmp_path / "whole", report=quiet)
    real, calls = train_module.update, []

    def interrupted(*args, **kwargs):
        calls.append(None)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return real(*args, **kwargs)

    monkeypatch.setattr(train_module, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "cut", report=quiet)
    saved = checkpoint.latest(tmp_path / "cut")
    assert saved is not None and checkpoint.read_state(saved).step == 2
    monkeypatch.setattr(train_module, "update", real)
    train(settings, tmp_path / "cut", resume=True, report=quiet)
    whole, cut = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "cut"))
    assert whole == cut


def test_an_interrupt_in_an_evaluation_loses_nothing(tmp_path, model_path, monkeypatch):
    settings = config(model_path, checkpoint_every=100, evaluation={"episodes": 4, "every": 2})
    train(settings, tmp_path / "whole", report=quiet)
    real = train_module.examine

    def interrupted(run, policy, step, label, report):
        if label == "during":
            raise KeyboardInterrupt
        real(run, policy, step, label, report)

    monkeypatch.setattr(train_module, "examine", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "cut", report=quiet)
    monkeypatch.setattr(train_module, "examine", real)
    train(settings, tmp_path / "cut", resume=True, report=quiet)
    for file in ("metrics.jsonl", "evaluations.jsonl"):
        whole, cut = ((tmp_path / name / file).read_bytes() for name in ("whole", "cut"))
        assert whole == cut


def test_a_draft_is_never_loaded_and_lines_after_the_checkpoint_are_taken_back(
    tmp_path, model_path
):
    settings = config(model_path, steps=2)
    train(settings, tmp_path, report=quiet)
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    last = checkpoint.latest(tmp_path)
    assert last is not None
    last.rename(last.with_name(last.name + ".draft"))  # as if killed while writing
    (tmp_path / "finished.json").unlink()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "half')
    assert checkpoint.latest(tmp_path) is None
    train(settings, tmp_path, resume=True, report=quiet)
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole


def test_more_minibatches_and_epochs_run_and_learn_from_old_logprobs(tmp_path, model_path):
    settings = config(model_path, mini_batches=2, epochs=2, steps=2)
    run = train(settings, tmp_path, report=quiet)
    line = json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[0])
    assert line["metrics"]["kl_old"] > 0  # the second epoch is off-policy


def test_on_policy_ratios_are_one(tmp_path, model_path):
    train(config(model_path, steps=1), tmp_path, report=quiet)
    metrics = json.loads((tmp_path / "metrics.jsonl").read_text())["metrics"]
    assert metrics["turn0/ratio_p95"] == pytest.approx(1.0, abs=1e-4)
    assert metrics["clip_fraction"] == 0


def test_a_run_in_which_nothing_counts_stops_with_the_cause(tmp_path, model_path):
    settings = config(model_path, env={"id": "test/Broken-v0"}, evaluation={"episodes": 0})
    with pytest.raises(NotTheAgentsFault, match="shelf fell down"):
        train(settings, tmp_path, report=quiet)


def test_a_folder_is_not_overwritten_and_other_settings_are_not_resumed(tmp_path, model_path):
    settings = config(model_path, steps=1)
    train(settings, tmp_path, report=quiet)
    with pytest.raises(ConfigError, match="--resume"):
        train(settings, tmp_path, report=quiet)
    other = config(model_path, steps=1, group_size=4)
    with pytest.raises(ConfigError, match="group_size was 3, now 4"):
        train(other, tmp_path, resume=True, report=quiet)


def test_a_wrong_start_leaves_no_folder_behind(tmp_path):
    with pytest.raises(UnknownNameError):
        train(config("tiny:nothing"), tmp_path / "run", report=quiet)
    with pytest.raises(ConfigError, match="no model folder"):
        train(config(tmp_path / "absent"), tmp_path / "run", report=quiet)
    assert not (tmp_path / "run").exists()


def test_an_epoch_visits_every_task_once():
    settings = config("x", groups_per_step=3)
    tasks = [f"t{i}" for i in range(6)]
    first = [g.task_id for step in (0, 1) for g in plan(settings, tasks, step)]
    second = [g.task_id for step in (2, 3) for g in plan(settings, tasks, step)]
    assert sorted(first) == sorted(second) == tasks and first != second


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_parses(name):
    settings = load_recipe(name, ["steps=1"])
    assert settings.steps == 1
    settings.env.make()


def test_unknown_keys_and_env_settings_name_the_closest():
    with pytest.raises(ConfigError, match="Did you mean 'steps'"):
        load_recipe("web_shop", ["stps=1"])
    with pytest.raises(ConfigError, match="page_size"):
        load_recipe("web_shop", ["env.page_sise=1"]).env.make()
    with pytest.raises(UnknownNameError, match="Did you mean 'grpo'"):
        credit_method(load_recipe("web_shop", ["credit.method=grp"]).credit)


def test_threads_are_set_as_asked(tmp_path, model_path):
    before = torch.get_num_threads()
    try:
        train(config(model_path, steps=1, threads=1), tmp_path, report=quiet)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
