"""turngym inside verl 0.9.1: estimators through verl's own dispatcher, the loss, the agent loop.

Runs in the verl environment: `.ci/requirements-verl.txt`.
"""

from __future__ import annotations

import asyncio
import json
import warnings
from array import array
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import turngym
from turngym import TextEnv
from turngym.agents.demonstrate import DemonstratingAgent
from turngym.agents.render import Renderer
from turngym.agents.tiny import tiny_tokenizer
from turngym.errors import UsageError
from turngym.trainers.batch import collate
from turngym.trainers.credit import CREDITS
from turngym.trainers.kernels.spread import spread
from turngym.trainers.rollout import Group, rollout
from turngym.types import Trajectory, user

pytestmark = pytest.mark.verl


class Steps(TextEnv):
    """Rewards every turn and ends after as many as the seed says; replies are what it counts."""

    def reset(self, *, seed=None, options=None):
        self.left = int(self.np_random.integers(1, 5))
        self.scale = float(self.np_random.normal())
        return (user("begin"),), {}

    def step(self, action):
        self.left -= 1
        own = self.scale * len(action.content)
        info = {"turn_reward": own}
        if self.left <= 0:
            info["outcome"] = float(len(action.content) % 3)
        return (user("go on"),), 0.0, self.left <= 0, False, info


@pytest.fixture(scope="module", autouse=True)
def steps() -> str:
    turngym.register("test/VerlSteps-v0", Steps, max_turns=6)
    return "test/VerlSteps-v0"


@pytest.fixture(scope="module")
def core() -> Any:
    pytest.importorskip("verl", reason="needs the verl environment (.ci/requirements-verl.txt)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # verl warns of every engine that is not installed
        import verl.experimental.agent_loop.agent_loop
        import verl.trainer.ppo.ray_trainer
        import verl.workers.config  # noqa: F401
    from verl.trainer.ppo import core_algos

    return core_algos


def script(context):
    return "a" * (
        2 + (len(context.episode) + 3 * len(context.turns) + ord(context.episode[-1])) % 7
    )


@pytest.fixture(scope="module")
def played(steps) -> list[Trajectory]:
    agent = DemonstratingAgent(script, tiny_tokenizer())
    groups = [Group(key=str(k), seed=k, size=3) for k in range(6)]
    return rollout(lambda: turngym.make(steps), agent, groups)


def dense(trajectories) -> tuple[Tensor, Tensor, np.ndarray]:
    """Token rewards, mask and uids as verl's trainer pads them."""
    from turngym.trainers.interop.verl_loop import output_of

    rows = [output_of(t).as_dict() for t in trajectories]
    pad = torch.nn.utils.rnn.pad_sequence
    rewards = pad([row["rm_scores"] for row in rows], batch_first=True)
    mask = pad([row["response_mask"] for row in rows], batch_first=True)
    return rewards, mask, np.array([t.group for t in trajectories], dtype=object)


def through_verl(name: str, trajectories, settings=None) -> tuple[Tensor, Tensor]:
    from omegaconf import OmegaConf
    from tensordict import TensorDict
    from verl import DataProto
    from verl.trainer.ppo.ray_trainer import compute_advantage

    rewards, mask, uids = dense(trajectories)
    tensors = TensorDict(
        {"token_level_rewards": rewards, "response_mask": mask}, batch_size=len(mask)
    )
    data = DataProto(batch=tensors, non_tensor_batch={"uid": uids})
    config = OmegaConf.create({"gamma": 1.0, "lam": 1.0, "turngym": settings or {}})
    data = compute_advantage(data, adv_estimator=name, config=config)
    return data.batch["advantages"], mask


def test_importing_verl_registers_every_method_and_the_loss(core):
    from verl.trainer.ppo.core_algos import get_policy_loss_fn

    for name in CREDITS:
        assert callable(core.get_adv_estimator_fn(f"turngym_{name}"))
    assert get_policy_loss_fn("turngym_turn").__name__ == "turn_policy_loss"


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("grpo", {}),
        ("grpo", {"preset": "dr_grpo", "turn_reward_weight": 0.5}),
        ("rloo", {}),
        ("reinforce_pp", {}),
        ("reinforce_pp_baseline", {}),
        ("mapo", {}),
        ("mapo", {"preset": "mica", "gamma": 0.5}),
        ("gigpo", {"omega": 0.0}),
    ],
)
def test_an_estimator_gives_each_sampled_token_what_turngym_gives(core, played, name, settings):
    # A turn missed, merged or shifted, an outcome counted as a turn reward, or a reward lost at a
    # boundary changes a number here.
    method = CREDITS[name]
    batch = collate(played)
    expected = spread(method(batch, method.parse(settings)).turn, batch.turn_of_token)
    advantages, mask = through_verl(f"turngym_{name}", played, settings)
    assert float(advantages[mask == 0].abs().sum()) == 0
    ours = expected[batch.turn_of_token >= 0]
    assert ours.abs().sum() > 0
    torch.testing.assert_close(advantages[mask == 1], ours, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "level"), [("a2tgpo", "info_gain"), ("igpo", "info_gain"), ("oprl", "step_reward")]
)
def test_signals_may_come_as_turn_rewards(core, played, name, level):
    batch = collate(played)
    columns = {level: batch.turn_rewards}
    if level == "info_gain":
        lengths = batch.cu_turns.diff()[batch.traj_of_turn]
        columns["info_gain_mask"] = batch.turn_index < lengths - 1
    expected = spread(CREDITS[name](batch.with_columns(turn=columns)).turn, batch.turn_of_token)
    advantages, mask = through_verl(f"turngym_{name}", played)
    torch.testing.assert_close(
        advantages[mask == 1], expected[batch.turn_of_token >= 0], atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("name", ["gae_token", "gae_turn", "gae_bilevel", "spa", "gigpo"])
def test_what_verl_cannot_feed_is_refused_by_name(core, played, name):
    with pytest.raises(UsageError, match=f"{name} .*verl"):
        through_verl(f"turngym_{name}", played)


def test_rows_in_any_order_and_rows_without_a_sampled_token(core):
    from turngym.trainers.interop.verl_credit import turn_batch

    mask = torch.tensor([[1, 1, 0, 0, 1], [0, 0, 0, 0, 0], [0, 1, 0, 1, 0]])
    rewards = torch.tensor([[2.0, 0, 0, 3, 7], [9, 9, 9, 9, 9], [5, 1, 4, 6, 8]])
    batch = turn_batch(rewards, mask, np.array(["b", "a", "b"], dtype=object))
    batch.validate()
    assert batch.turn_of_token.tolist() == [0, 0, -1, -1, 1] + [-1] * 5 + [-1, 2, -1, 3, -1]
    # By hand: what follows a turn's first token is its own, what follows the last token the outcome.
    assert batch.turn_rewards.tolist() == [5, 0, 5, 0]
    assert batch.outcome.tolist() == [7, 0, 14]
    assert batch.group_of_traj.tolist() == [1, 0, 1]
    assert batch.traj_mask.tolist() == [True, False, True]


def test_the_turn_loss_equals_gspo_where_a_row_is_one_turn(core):
    torch.manual_seed(0)
    old, new = torch.randn(4, 6) * 0.1, (torch.randn(4, 6) * 0.1).requires_grad_()
    advantages = torch.randn(4, 1).expand(4, 6)
    mask = torch.tensor([[1] * n + [0] * (6 - n) for n in (6, 3, 1, 5)])
    from verl.workers.config import ActorConfig

    config = ActorConfig(
        strategy="fsdp", rollout_n=1, ppo_micro_batch_size_per_gpu=1, use_dynamic_bsz=False
    )
    losses, gradients = [], []
    for name in ("turngym_turn", "gspo"):
        loss, _ = core.get_policy_loss_fn(name)(
            old_log_prob=old, log_prob=new, advantages=advantages, response_mask=mask,
            loss_agg_mode="seq-mean-token-mean", config=config,
        )  # fmt: skip
        losses.append(loss.detach())
        gradients.append(torch.autograd.grad(loss, new)[0])
    torch.testing.assert_close(losses[0], losses[1], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-6)


class Server:
    """verl's inference client, replaying what a script says."""

    def __init__(self, tokenizer: Any) -> None:
        self.renderer = Renderer(tokenizer)
        self.asked: list[list[int]] = []

    async def generate(self, request_id, *, prompt_ids, sampling_params, **_):
        from verl.workers.rollout.replica import TokenOutput

        self.asked.append(prompt_ids)
        said = self.renderer.reply(turngym.types.assistant("a" * (3 + len(self.asked))))
        ids = said[: sampling_params["max_tokens"]].tolist()
        return TokenOutput(token_ids=ids, log_probs=[-0.5] * len(ids))


def loop(tokenizer: Any, server: Server, response_length: int) -> Any:
    from turngym.trainers.interop.verl_loop import TurngymAgentLoop

    made = object.__new__(TurngymAgentLoop)  # its constructor wants a whole trainer
    made.server_manager, made.tokenizer = server, tokenizer
    made.rollout_config = SimpleNamespace(response_length=response_length)
    return made


def test_the_agent_loop_gives_the_sampled_ids_and_nothing_else(core, steps):
    from turngym.trainers.interop.verl_loop import dataset_rows

    tokenizer = tiny_tokenizer()
    server = Server(tokenizer)
    (row,) = dataset_rows(steps, {}, split="train", count=1, seed=4)
    assert json.loads(row["env_settings"]) == {} and row["agent_name"] == "turngym"
    output = asyncio.run(loop(tokenizer, server, 512).run({"temperature": 1.0}, **row))
    fields = output.as_dict()
    turns = len(server.asked)
    assert turns == output.num_turns // 2 > 1
    # Each prompt is the one before, the reply, and what the environment said: nothing re-tokenised.
    whole = output.prompt_ids + output.response_ids
    assert all(whole[: len(prompt)] == prompt for prompt in server.asked)
    sampled = fields["responses"][fields["response_mask"] == 1].tolist()
    assert sampled == [
        i
        for k in range(turns)
        for i in server.renderer.reply(turngym.types.assistant("a" * (4 + k)))
    ]
    assert fields["rollout_log_probs"][fields["response_mask"] == 1].tolist() == [-0.5] * len(
        sampled
    )
    assert fields["rm_scores"][-1] == output.reward_score == float((3 + turns) % 3)


def test_the_agent_loop_stops_at_the_response_length(core, steps):
    tokenizer = tiny_tokenizer()
    row = {"env_id": steps, "env_settings": "{}", "seed": 4}
    output = asyncio.run(loop(tokenizer, Server(tokenizer), 9).run({}, **row))
    assert 0 < len(output.response_ids) <= 9
    assert output.response_mask[-1] == 1


class Broken(Steps):
    def step(self, action):
        raise RuntimeError("the environment fell over")


def test_a_broken_environment_is_no_sample(core):
    turngym.register("test/VerlBroken-v0", Broken, max_turns=6)
    tokenizer = tiny_tokenizer()
    row = {"env_id": "test/VerlBroken-v0", "seed": 1}
    assert asyncio.run(loop(tokenizer, Server(tokenizer), 64).run({}, **row)) == []


def test_replies_may_be_one_token_long(core, played):
    # The one case that loses something: a last turn of a single token keeps only the outcome.
    from dataclasses import replace

    from turngym.trainers.interop.verl_credit import turn_batch
    from turngym.trainers.interop.verl_loop import output_of

    first, *_, last = next(t for t in played if len(t.turns) > 2).turns
    short = replace(
        last,
        completion=replace(
            last.completion, reply_ids=array("i", [5]), reply_logprobs=array("f", [0])
        ),
    )
    trajectory = replace(played[0], turns=(first, short), outcome=2.0)
    fields = output_of(trajectory).as_dict()
    batch = turn_batch(fields["rm_scores"][None], fields["response_mask"][None])
    assert batch.outcome.tolist() == [2.0]
    assert batch.turn_rewards.tolist() == [pytest.approx(first.reward), 0.0]
