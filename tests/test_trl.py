"""turngym inside TRL 1.16's real GRPOTrainer.

Runs in the TRL environment: `.ci/requirements-trl.txt`.
"""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
import torch

import turngym
from turngym import TextEnv
from turngym.agents.tiny import tiny_model, tiny_tokenizer
from turngym.errors import UsageError
from turngym.trainers.batch import collate
from turngym.trainers.config import CreditSettings
from turngym.trainers.credit import CREDITS
from turngym.trainers.kernels.spread import spread
from turngym.types import user

pytestmark = pytest.mark.trl


class Letters(TextEnv):
    """Three turns; each pays for its first character, the outcome for the last reply's length."""

    def reset(self, *, seed=None, options=None):
        self.start, self.steps = int(self.np_random.integers(0, 9)), 0
        return (user(f"begin {self.start}"),), {}

    def step(self, action):
        self.steps += 1
        own = float(ord((action.content or "a")[0]) % 7)
        info = {"turn_reward": own, "outcome": float(len(action.content) % 5)}
        return (user("more"),), 0.0, self.steps == 3, False, info


@pytest.fixture(scope="module", autouse=True)
def letters() -> str:
    turngym.register("test/Letters-v0", Letters, max_turns=4)
    return "test/Letters-v0"


@pytest.fixture(scope="module")
def trl() -> Any:
    found = pytest.importorskip(
        "trl", reason="needs the TRL environment (.ci/requirements-trl.txt)"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from trl import GRPOConfig, GRPOTrainer  # noqa: F401
    return found


def trainer(trl: Any, folder: Any, turns: Any, method: str, **settings: Any) -> Any:
    from datasets import Dataset

    from turngym.trainers.interop.trl import TurnCreditMixin

    class Trainer(TurnCreditMixin, trl.GRPOTrainer):
        pass

    tokenizer = tiny_tokenizer()
    args = trl.GRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=6,
        num_generations=3,
        max_completion_length=48,
        max_steps=2,
        learning_rate=1e-2,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        **settings,
    )
    return Trainer(
        model=tiny_model(seed=1),
        args=args,
        train_dataset=Dataset.from_list(turns.rows(count=8)),
        processing_class=tokenizer,
        turns=turns,
        credit=CreditSettings(method=method),
    )


@pytest.mark.filterwarnings("ignore")
def test_two_steps_train_with_an_advantage_for_each_turn(trl, letters, tmp_path):
    from turngym.trainers.interop.trl import TurnRollout

    turns = TurnRollout(letters)
    made = trainer(trl, tmp_path, turns, "mapo")
    seen = []
    original = made._generate_and_score_completions

    def watch(inputs):
        output = original(inputs)
        seen.append((output, list(turns.played)))
        return output

    made._generate_and_score_completions = watch
    before = {name: value.clone() for name, value in made.model.named_parameters()}
    made.train()
    assert len(seen) == 2
    for output, played in seen:
        advantages, mask = output["advantages"], output["completion_mask"] * output["tool_mask"]
        assert advantages.shape == output["completion_ids"].shape
        # By our own batch, with the groups that TRL means: three neighbours.
        batch = collate(played)
        assert batch.group_of_traj.tolist() == [0, 0, 0, 1, 1, 1]
        expected = spread(CREDITS["mapo"](batch).turn, batch.turn_of_token)
        torch.testing.assert_close(advantages[mask == 1], expected[batch.turn_of_token >= 0])
        assert float(advantages[mask == 0].abs().sum()) == 0
        assert any(len(set(row[row != 0].tolist())) > 1 for row in advantages)
        # The masked ids are the sampled ones.
        sampled = [i for t in played for turn in t.turns for i in turn.completion.reply_ids]
        assert output["completion_ids"][mask == 1].tolist() == sampled
    assert any(
        not torch.equal(before[name], value) for name, value in made.model.named_parameters()
    )


class Fragile(Letters):
    def step(self, action):
        if self.start % 2:
            raise RuntimeError("fell over")
        return super().step(action)


@pytest.mark.filterwarnings("ignore")
def test_broken_episodes_are_masked_and_have_no_reward(trl, tmp_path):
    from turngym.trainers.interop.trl import TurnRollout, outcome

    turngym.register("test/Fragile-v0", Fragile, max_turns=4)
    turns = TurnRollout("test/Fragile-v0")
    made = trainer(trl, tmp_path, turns, "grpo")
    rows = [row for row in turns.rows(count=8) for _ in range(3)]
    made.model.train()
    output = made._generate_and_score_completions(rows)
    broken = [not t.status.counts for t in turns.played]
    assert any(broken) and not all(broken)
    for row, lost in enumerate(broken):
        mask = output["completion_mask"][row] * output["tool_mask"][row]
        assert (int(mask.sum()) == 0) == lost
        if lost:
            assert float(output["advantages"][row].abs().sum()) == 0
    values = outcome(turngym_outcome=[t.outcome for t in turns.played])
    assert [value is None for value in values] == broken


def test_a_foreign_data_set_is_refused(trl, letters):
    from turngym.trainers.interop.trl import _groups
    from turngym.types import Sampling

    with pytest.raises(UsageError, match="TurnRollout.rows"):
        _groups([[{"role": "user", "content": "What is 2 + 2?"}]], Sampling())


def test_an_environment_class_has_the_tools_of_the_environment(trl):
    from transformers.utils import get_json_schema

    from turngym.trainers.interop.trl import environment_class

    kind = environment_class("turngym/ToolUse-v0", {"size": "demo"})
    env, original = kind(), turngym.make("turngym/ToolUse-v0", size="demo")
    said = env.reset(seed=3, prompt="ignored")
    new, _ = original.reset(seed=3)
    assert said == "\n".join(message.content for message in new)
    for tool in original.tools:
        described = tool["function"]
        again = get_json_schema(getattr(env, described["name"]))["function"]
        assert again["name"] == described["name"]
        parameters, theirs = described["parameters"], again["parameters"]
        assert set(theirs["properties"]) == set(parameters.get("properties", {}))
        assert set(theirs.get("required", [])) == set(parameters.get("required", []))


def test_an_environment_without_tools_is_spoken_to(trl, letters):
    from turngym.trainers.interop.trl import environment_class

    env = environment_class(letters)()
    env.reset(seed=0)
    assert [env.say("hello"), env.say("b"), env.say("abcd")] == ["more"] * 3
    assert env.get_reward() == 4.0  # the outcome, not the sum of anything
    assert env.say("x") == "The episode is over."
    env.reset(seed=1)
    assert env.get_reward() == 0.0


@pytest.mark.filterwarnings("ignore")
def test_trl_plays_an_environment_class(trl, letters, tmp_path):
    from datasets import Dataset
    from trl.chat_template_utils import qwen3_chat_template

    from turngym.trainers.interop.trl import environment_class

    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = qwen3_chat_template
    rows = [{"prompt": [{"role": "user", "content": "Play."}], "seed": seed} for seed in range(4)]
    args = trl.GRPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=2, num_generations=2, max_steps=1,
        max_completion_length=8, use_cpu=True, report_to=[], save_strategy="no",
    )  # fmt: skip
    made = trl.GRPOTrainer(
        model=tiny_model(seed=1),
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        reward_funcs=[],
        environment_factory=environment_class(letters),
    )
    made.train()
    assert "reward" in json.dumps(made.state.log_history)
