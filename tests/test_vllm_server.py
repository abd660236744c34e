"""The HTTP agents against a real vLLM server on the loopback."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import torch

from guess import Guess
from tiny_vllm import HELLO, LIMIT, fp32_policy, saved
from turngym.agents.http import HTTPAgent
from turngym.agents.http_tokens import TokenHTTPAgent
from turngym.agents.tiny import load_tiny
from turngym.agents.transport import AiohttpTransport, HttpxTransport
from turngym.errors import ContextOverflow, InfraFailure
from turngym.trainers.batch import collate
from turngym.trainers.rollout import Group, RolloutConfig, rollout
from turngym.types import Context, Sampling, Turn, user

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
def server(model, tmp_path_factory):
    """The base address of a server with the tiny policy."""
    folder = saved(model, tmp_path_factory.mktemp("server"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "tiny"]
    command += ["--dtype", "float32", "--max-model-len", str(LIMIT), "--enforce-eager"]
    command += ["--logprobs-mode", "processed_logprobs", "--disable-log-stats"]
    env = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=env, start_new_session=True)
    try:
        base = f"http://127.0.0.1:{port}"
        for _ in range(600):
            assert process.poll() is None, (folder / "log").read_text()[-3000:]
            try:
                with urllib.request.urlopen(f"{base}/health", timeout=1):
                    break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail((folder / "log").read_text()[-3000:])
        yield f"{base}/v1"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)


def chat(server, transport=HttpxTransport, **options):
    options = {"need_ids": True, "logprobs_at_temperature": True, **options}
    return HTTPAgent(server, "tiny", transport=transport(), **options)


def tokens(server, **options):
    tokenizer = load_tiny("web_shop")[1]
    options = {"logprobs_at_temperature": True, **options}
    return TokenHTTPAgent(server, "tiny", tokenizer, limit=LIMIT, **options)


def ask(agent, context=HELLO, seed=0, **sampling):
    return asyncio.run(agent.act(context, sampling=Sampling(**sampling), seed=seed))


@torch.no_grad()
def gap(model, completion, past=()):
    """Largest difference between the server's log-probabilities and the model's."""
    prompt = [*past, *completion.new_prompt_ids]
    ids = torch.tensor([[*prompt, *completion.reply_ids]])
    logits = model(ids).logits[0, len(prompt) - 1 : -1] / (completion.temperature or 1.0)
    expected = logits.log_softmax(-1).gather(1, ids[0, len(prompt) :].unsqueeze(1)).squeeze(1)
    return float((expected - torch.tensor(completion.reply_logprobs.tolist())).abs().max())


@pytest.mark.parametrize("temperature", [1.0, 0.6, 0.0])
@pytest.mark.parametrize("make", [chat, tokens])
def test_ids_and_log_probabilities_are_the_models_own(server, model, make, temperature):
    found = ask(make(server), temperature=temperature, max_new_tokens=24)
    assert len(found.reply_ids) == len(found.reply_logprobs) > 0
    assert gap(model, found) <= 1e-4


def test_chat_and_tokens_and_both_transports_agree_on_a_greedy_reply(server):
    agents = [chat(server), chat(server, AiohttpTransport), tokens(server)]
    found = [ask(agent, temperature=0.0, max_new_tokens=24) for agent in agents]
    assert found[0].reply_ids == found[1].reply_ids == found[2].reply_ids
    # The server renders the same prompt as we do, and counts the same tokens.
    assert found[0].new_prompt_ids == found[2].new_prompt_ids
    assert found[0].message.content == found[2].message.content
    used = [(a.usage.prompt_tokens, a.usage.reply_tokens) for a in agents]
    assert used == [(len(found[0].new_prompt_ids), len(found[0].reply_ids))] * 3


@pytest.mark.parametrize("make", [chat, tokens])
def test_a_second_turn_extends_what_was_sampled(server, model, make):
    first = ask(make(server), temperature=0.0, max_new_tokens=24)
    turn = Turn(seen=HELLO.new, completion=first)
    context = Context(episode="e", turns=(turn,), new=(user("go on"),))
    second = ask(make(server), context, max_new_tokens=24)
    assert not second.opens_segment
    assert gap(model, second, [*first.new_prompt_ids, *first.reply_ids]) <= 1e-4


@pytest.mark.parametrize("make", [chat, tokens])
def test_a_conversation_that_is_too_long_ends_the_episode(server, make):
    with pytest.raises(ContextOverflow):
        ask(make(server), Context(episode="e", new=(user("word " * 400),)), max_new_tokens=8)


def test_a_wrong_model_name_is_named(server):
    with pytest.raises(InfraFailure, match="name of the model"):
        ask(HTTPAgent(server, "nobody"))


def test_episodes_over_http_can_be_trained_on(server):
    groups = [Group(key="g", seed=0, size=4, sampling=Sampling(max_new_tokens=8))]
    done = rollout(Guess, tokens(server), groups, RolloutConfig(deterministic=False))
    batch = collate(done)
    assert batch.num_turns == sum(len(t.turns) for t in done) > 4
    assert bool(batch.traj_mask.all()) and bool((batch.sampled_logprobs <= 0).all())
