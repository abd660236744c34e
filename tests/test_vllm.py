"""A real vLLM engine on this machine's CPU: exact ids and log-probabilities, new weights, adapters,
death. Every number is compared with the transformers model that holds the same weights."""

import asyncio
import json
import os
import signal
import threading

import pytest
import torch

import turngym
from guess import Guess
from tiny_vllm import HELLO, LIMIT, fp32_policy, saved
from turngym import TextEnv, bridge
from turngym.agents.vllm import VLLMAgent
from turngym.errors import ConfigError, ContextOverflow, InfraFailure
from turngym.trainers.config import TrainConfig
from turngym.trainers.policy import Policy
from turngym.trainers.rollout import Group, RolloutConfig, rollout
from turngym.trainers.train import train
from turngym.types import Context, EpisodeStatus, Sampling, Turn, user

pytest.importorskip("vllm", reason="needs the vllm environment")
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.filterwarnings("default"),  # vLLM's own imports warn
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def model():
    return fp32_policy()


@pytest.fixture(scope="module")
def agent(model, tmp_path_factory):
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = "1"
    agent = VLLMAgent(
        saved(model, tmp_path_factory.mktemp("model")),
        dtype="float32",
        max_model_len=LIMIT,
        enforce_eager=True,
        enable_lora=True,
        max_lora_rank=8,
        max_restarts=1,
    )
    yield agent
    agent.close()


def ask(agent, context=HELLO, seed=0, **sampling):
    return bridge.call(agent, context, sampling=Sampling(**sampling), seed=seed)


@torch.no_grad()
def gap(model, completion, past=()):
    """Largest difference between the engine's log-probabilities and the model's."""
    prompt = [*past, *completion.new_prompt_ids]
    ids = torch.tensor([[*prompt, *completion.reply_ids]])
    logits = model(ids).logits[0, len(prompt) - 1 : -1] / (completion.temperature or 1.0)
    expected = logits.log_softmax(-1).gather(1, ids[0, len(prompt) :].unsqueeze(1)).squeeze(1)
    return float((expected - torch.tensor(completion.reply_logprobs.tolist())).abs().max())


@torch.no_grad()
def shaken(model, seed, scale=0.05):
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * scale)


@pytest.mark.parametrize("temperature", [1.0, 0.6, 0.0])
def test_log_probabilities_are_the_models_own_at_every_temperature(agent, model, temperature):
    found = ask(agent, temperature=temperature, max_new_tokens=24)
    assert len(found.reply_logprobs) == len(found.reply_ids) > 0
    assert gap(model, found) <= 1e-4


def test_greedy_ids_are_the_argmax_of_the_model(agent, model):
    found = ask(agent, temperature=0.0, max_new_tokens=24)
    ids = list(found.new_prompt_ids)
    for token in found.reply_ids:
        with torch.no_grad():
            assert token == int(model(torch.tensor([ids])).logits[0, -1].argmax())
        ids.append(token)
    assert found.reply_ids[-1] == 2 and found.finish_reason == "stop"  # the end of turn is sampled


def test_a_second_turn_extends_the_sampled_ids_and_reads_them_from_the_prefix_cache(agent, model):
    first = ask(agent, max_new_tokens=12)
    turn = Turn(seen=HELLO.new, completion=first)
    second = ask(agent, Context(episode="e", turns=(turn,), new=(user("go on"),)))
    assert not second.opens_segment
    past = [*first.new_prompt_ids, *first.reply_ids]
    assert gap(model, second, past) <= 1e-4


def test_the_same_seed_draws_the_same_reply_and_others_differ(agent):
    agent.seeded = True
    texts = [ask(agent, seed=seed, max_new_tokens=24).reply_ids for seed in (1, 1, 2, 3, 4)]
    agent.seeded = False
    assert texts[0] == texts[1]
    assert len({tuple(text) for text in texts}) > 1


def test_what_top_p_cut_has_no_log_probabilities_that_a_trainer_could_compare(agent):
    found = ask(agent, top_p=0.5, max_new_tokens=4)
    assert found.reply_ids and not found.reply_logprobs


def test_a_stop_string_ends_the_text_and_keeps_the_sampled_ids(agent):
    found = ask(agent, temperature=0.0, stop=("[",), max_new_tokens=24)
    assert "[" not in found.message.content and len(found.reply_ids) == len(found.reply_logprobs)


def test_a_prompt_without_room_is_the_episodes_end(agent):
    with pytest.raises(ContextOverflow, match=f"takes {LIMIT}"):
        ask(agent, Context(episode="e", new=(user("word " * 400),)))
    almost = Context(episode="e", new=(user("word " * 80),))
    found = ask(agent, almost, max_new_tokens=10_000)
    assert len(found.new_prompt_ids) + len(found.reply_ids) <= LIMIT


def test_new_weights_answer_at_once_and_old_prefixes_are_forgotten(agent, model):
    ask(agent, max_new_tokens=4)  # fills the prefix cache
    for version in (1, 2):  # twice: the second change starts from a reloaded engine
        shaken(model, version)
        agent.load(model, version)
        found = ask(agent, max_new_tokens=24)
        assert found.policy_version == version
        assert gap(model, found) <= 1e-4


def test_replies_are_of_one_version_while_weights_change(agent, model):
    """A change waits for what is under way; nothing is lost, nothing is mixed."""
    before = {name: value.clone() for name, value in model.state_dict().items()}

    async def many():
        asks = [
            agent.act(HELLO, sampling=Sampling(max_new_tokens=100), seed=seed) for seed in range(24)
        ]
        return await asyncio.gather(*asks)

    shaken(model, 9)
    changer = threading.Timer(0.3, lambda: agent.load(model, 3))
    changer.start()
    found = asyncio.run(many())
    changer.join()
    after = asyncio.run(many())
    assert {c.policy_version for c in found} <= {2, 3}
    assert {c.policy_version for c in after} == {3}
    assert max(gap(model, c) for c in found + after if c.policy_version == 3) <= 1e-4
    new = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(before)
    assert max((gap(model, c) for c in found if c.policy_version == 2), default=0) <= 1e-4
    model.load_state_dict(new)


def adapter(model, folder, seed):
    """A LoRA adapter as PEFT saves one, and the model with it merged in by hand: W + B A."""
    import copy

    from safetensors.torch import save_file

    torch.manual_seed(seed)
    merged, tensors = copy.deepcopy(model), {}
    for number, layer in enumerate(merged.model.layers):
        weight = layer.self_attn.q_proj.weight
        a, b = torch.randn(4, weight.shape[1]) * 0.1, torch.randn(weight.shape[0], 4) * 0.5
        name = f"base_model.model.model.layers.{number}.self_attn.q_proj"
        tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"] = a, b
        weight.data += 8 / 4 * b @ a
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps({**settings, "bias": "none"}))
    return merged


def test_adapters_are_swapped_while_the_engine_runs(agent, model, tmp_path):
    base = ask(agent, max_new_tokens=24)
    for seed in (1, 2):
        merged = adapter(model, tmp_path / str(seed), seed)
        agent.load_lora(tmp_path / str(seed), version=10 + seed)
        found = ask(agent, max_new_tokens=24)
        assert found.policy_version == 10 + seed
        assert gap(merged, found) <= 1e-4
        assert gap(merged, base) > 1e-3  # the adapter is no small thing
    agent.load(model, 13)  # whole weights: no adapter any more
    assert gap(model, ask(agent, max_new_tokens=24)) <= 1e-4
    with pytest.raises(ConfigError, match="no adapter"):
        agent.load_lora(tmp_path, 14)


def test_episodes_of_a_rollout_are_answered_together(agent, model):
    groups = [
        Group(key=str(n), seed=n, size=4, sampling=Sampling(max_new_tokens=8)) for n in range(4)
    ]
    done = rollout(Guess, agent, groups, RolloutConfig(deterministic=False))
    assert len(done) == 16 and all(t.status.counts for t in done)
    for trajectory in done[:3]:
        past: list[int] = []
        for turn in trajectory.turns:
            past = [] if turn.completion.opens_segment else past
            assert gap(model, turn.completion, past) <= 1e-4
            past += [*turn.completion.new_prompt_ids, *turn.completion.reply_ids]


class Even(TextEnv):
    """Two turns; the outcome is the share of replies with an even number of bytes."""

    max_turns = 2

    def reset(self, *, seed=None, options=None):
        self.good = 0
        return (user(f"say {int(self.np_random.integers(5))}"),), {}

    def step(self, action):
        self.good += len(action.content.encode()) % 2 == 0
        return (user("again"),), 0.0, False, False, {"outcome": self.good / 2}


turngym.register("test/Even-v0", Even)


def test_training_samples_from_the_engine_and_the_importance_weight_stays_one(tmp_path):
    """Stale weights or a wrong temperature show as a weight away from 1 from the second step on."""
    settings = {
        "env": {"id": "test/Even-v0"},
        "policy": {
            "path": "tiny:web_shop",
            "device": "cpu",
            "vllm": {"max_model_len": LIMIT, "enforce_eager": True},
        },
        "rollout": {"deterministic": False},
        "optimizer": {"learning_rate": 1e-2},
        "sampling": {"temperature": 0.8, "max_new_tokens": 12},
        "evaluation": {"episodes": 0},
        "steps": 3,
        "groups_per_step": 2,
        "group_size": 4,
    }
    run = train(TrainConfig.model_validate(settings), tmp_path / "run", report=lambda _: None)
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    weights = [line["metrics"]["importance_weight"] for line in lines]
    assert len(weights) == 3 and max(abs(weight - 1) for weight in weights) <= 1e-4, weights
    assert any(line["grad_norm"] > 0 for line in lines[:2])  # the weights did move
    wrong = {**settings, "rollout": {"deterministic": True}}
    with pytest.raises(ConfigError, match="deterministic=false"):
        Policy.load(TrainConfig.model_validate(wrong).policy)


def engine_process(agent):
    """The process in which the engine's core runs."""
    return agent.engine._llm.engine_core.resources.engine_manager.processes[0].pid


def killed_soon(agent, after_s):
    pid = engine_process(agent)
    timer = threading.Timer(after_s, lambda: os.kill(pid, signal.SIGKILL))
    timer.start()
    return timer


def long_groups(count):
    sampling = Sampling(max_new_tokens=60)
    return [Group(key=f"k{n}", seed=n, sampling=sampling) for n in range(count)]


def test_an_engine_that_dies_comes_back_with_the_newest_weights_and_no_episode_is_lost(
    agent, model
):
    shaken(model, 20)
    agent.load(model, 20)
    timer = killed_soon(agent, 0.3)
    done = rollout(Guess, agent, long_groups(12), RolloutConfig(deterministic=False))
    timer.join()
    assert [t.status.counts for t in done] == [True] * 12, [t.error[-300:] for t in done]
    found = ask(agent, max_new_tokens=24)
    assert found.policy_version == 20 and gap(model, found) <= 1e-4


def test_an_engine_that_stays_dead_is_a_status_never_a_zero(agent):
    """Must be the last test of the module: its restarts are used up."""
    timer = killed_soon(agent, 0.3)
    done = rollout(Guess, agent, long_groups(6), RolloutConfig(deterministic=False))
    timer.join()
    broken = [t for t in done if not t.status.counts]
    assert broken and {t.status for t in broken} == {EpisodeStatus.INFRA_ERROR}
    assert all(t.outcome is None and t.success is None for t in broken)
    assert "no restarts are left" in broken[0].error
    with pytest.raises(InfraFailure):
        ask(agent)
