"""Token ids over HTTP: what travels is what was sampled, and nothing is tokenised twice."""

import asyncio
import math
import sys
from dataclasses import replace

import pytest
import torch

pytest.importorskip("aiohttp")

from guess import Guess
from loss_batches import batch_of
from stub_server import raw, serving, status
from turngym.agents.endpoint import Retries
from turngym.agents.http_tokens import TokenHTTPAgent
from turngym.agents.tiny import tiny_tokenizer
from turngym.agents.vllm_engine import Engine
from turngym.errors import ConfigError, ContextOverflow, InfraFailure, MissingExtraError
from turngym.trainers.batch import collate
from turngym.trainers.config import PolicyConfig
from turngym.trainers.losses.mismatch import mean_weight
from turngym.trainers.policy import Policy
from turngym.trainers.rollout import Group, RolloutConfig, rollout
from turngym.types import Context, Sampling, Turn, user

TOKENIZER = tiny_tokenizer()
QUICK = Retries(attempts=2, base_s=0.001)
HELLO = Context(episode="e", new=(user("hi"),))
END = 2


def completes(text="50", ids=None, logprobs=None):
    """A server that says `text`, by its ids and its end of turn."""
    said = [*TOKENIZER.encode(text, add_special_tokens=False), END] if ids is None else ids

    def step(request, body):
        from aiohttp import web

        choice = {"text": text, "finish_reason": "stop", "token_ids": said or None}
        values = [-0.5] * len(said) if logprobs is None else logprobs
        return web.json_response(
            {"choices": [{**choice, "logprobs": {"token_logprobs": values}}], "usage": {}}
        )

    return step


def make(stub, **options):
    options = {"limit": 1000, "retries": QUICK, **options}
    return TokenHTTPAgent(stub.url, "m", TOKENIZER, **options)


def ask(agent, context=HELLO, seed=7, **sampling):
    return asyncio.run(agent.act(context, sampling=Sampling(**sampling), seed=seed))


def test_each_prompt_is_the_last_one_with_what_was_sampled_and_what_is_new():
    with serving(completes("a  b")) as stub:
        agent = make(stub)
        first = ask(agent)
        turn = Turn(seen=HELLO.new, completion=first)
        second = ask(agent, Context(episode="e", turns=(turn,), new=(user("more"),)))
    one, two = (body["prompt"] for body in stub.bodies)
    assert TOKENIZER.decode(one) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert two == [*one, *first.reply_ids, *second.new_prompt_ids]
    assert not second.opens_segment and first.message.content == "a  b"
    assert stub.bodies[0]["stop_token_ids"] == [END] and "seed" not in stub.bodies[0]


def test_the_seed_is_sent_on_request():
    with serving(completes()) as stub:
        ask(make(stub, seeded=True))
        assert stub.bodies[0]["seed"] == 7


def test_episodes_over_http_become_a_batch():
    with serving(completes("50")) as stub:
        groups = [Group(key="g", seed=0, size=3)]
        done = rollout(Guess, make(stub), groups, RolloutConfig(deterministic=False))
    batch = collate(done)
    assert batch.num_trajectories == 3 and bool(batch.traj_mask.all())
    assert set(batch.sampled_logprobs[batch.turn_of_token >= 0].tolist()) == {-0.5}


def test_a_server_without_ids_is_refused_at_once_not_asked_again():
    with serving(completes(ids=[], logprobs=[])) as stub:
        with pytest.raises(ConfigError, match="no token ids"):
            ask(make(stub))
        assert len(stub.bodies) == 1


def test_no_room_is_seen_before_asking_and_when_the_server_says_so():
    with serving(status(400, "maximum context length is 10")) as stub:
        with pytest.raises(ContextOverflow, match="takes 5"):
            ask(make(stub, limit=5))
        assert not stub.bodies
        with pytest.raises(ContextOverflow, match="maximum context length"):
            ask(make(stub))


def test_a_null_log_probability_is_no_answer():
    with serving(completes(logprobs=[None] * 2, ids=[5, END])) as stub:
        with pytest.raises(InfraFailure, match="2 attempts"):
            ask(make(stub))


def test_other_temperatures_lose_log_probabilities_that_would_be_wrong():
    with serving(completes()) as stub:
        assert not ask(make(stub), temperature=0.5).reply_logprobs
        kept = ask(make(stub, logprobs_at_temperature=True), temperature=0.5)
        assert set(kept.reply_logprobs) == {-0.5}


def test_garbage_is_tried_again():
    with serving(raw("no"), completes()) as stub:
        assert ask(make(stub)).message.content == "50"


def test_the_mean_importance_weight_by_hand():
    # Two trained tokens: e^0 and e^(ln 3), mean 2. The token before each turn is not ours.
    batch = replace(batch_of([[1], [1]]), sampled_logprobs=torch.tensor([9.0, -1.0, 9.0, -2.0]))
    trainer = torch.tensor([0.0, -1.0, 0.0, -2.0 + math.log(3)])
    assert mean_weight(batch, trainer) == pytest.approx(2.0)
    # An episode that failed through no fault of the agent does not count.
    broken = replace(batch, traj_mask=torch.tensor([True, False]))
    assert mean_weight(broken, trainer) == pytest.approx(1.0)


def test_vllm_missing_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtraError, match=r"turngym\[vllm\]"):
        Engine(tmp_path)


def test_an_engine_cannot_promise_the_same_bits():
    settings = PolicyConfig(path="tiny:web_shop", vllm={"max_model_len": 256})
    with pytest.raises(ConfigError, match="rollout.deterministic=false"):
        Policy.load(settings)
