"""The Hugging Face backend: batches of any shape, memory, ends of replies, several event loops."""

import asyncio
import gc
import threading
import weakref

import pytest
import torch

import turngym
from test_agents import Talk, bits, play
from turngym.agents import generate as generate_module
from turngym.agents.hf import HFAgent
from turngym.agents.tiny import tiny_model, tiny_tokenizer
from turngym.trainers.batch import collate
from turngym.trainers.forward import policy_output
from turngym.trainers.rollout import Group, RolloutConfig, rollout
from turngym.types import Context, Sampling, user

ENDS = [1, 2, *range(300, 400)]
"""Words that end a reply: about one in twenty of those that a random model draws."""


def model_with_ends():
    model = tiny_model()
    model.generation_config.eos_token_id = ENDS
    return model


def agent_with_ends(**options):
    return HFAgent(model_with_ends(), tiny_tokenizer(), **options)


def tokens(trajectories):
    return [(name, [ids for ids, _ in turns]) for name, turns in bits(trajectories)]


@torch.no_grad()
def test_replies_of_very_different_lengths_have_exact_logprobs_and_the_tokens_of_being_alone():
    found = play(agent_with_ends(), tokens=150, groups=4)
    lengths = [len(turn.completion.reply_ids) for t in found for turn in t.turns]
    assert min(lengths) < 10 and max(lengths) > 70  # rows leave early, and the cache has grown
    batch = collate(found)
    fresh = policy_output(model_with_ends(), batch).logprobs
    torch.testing.assert_close(fresh, batch.sampled_logprobs, atol=1e-5, rtol=1e-5)
    assert tokens(found) == tokens(play(agent_with_ends(), tokens=150, groups=4, concurrency=1))


def test_prompts_fed_in_pieces_give_the_same_tokens(monkeypatch):
    whole = tokens(play(agent_with_ends()))
    monkeypatch.setattr(generate_module, "_CHUNK_TOKENS", 20)  # three tokens of each of six rows
    assert tokens(play(agent_with_ends())) == whole


def test_every_end_that_the_model_names_ends_the_reply_and_is_not_part_of_the_message():
    tokenizer = tiny_tokenizer()
    for turn in (turn for t in play(agent_with_ends(), tokens=200) for turn in t.turns):
        ids = turn.completion.reply_ids
        assert not set(ids[:-1]) & set(ENDS)
        assert (ids[-1] in ENDS) == (turn.completion.finish_reason == "stop")
        if ids[-1] in ENDS and "tool_call" not in turn.completion.message.content:
            assert turn.completion.message.content == tokenizer.decode(ids[:-1])


def test_a_stop_string_ends_the_reply_and_is_cut_from_the_message():
    agent = HFAgent(tiny_model(), tiny_tokenizer())
    sampling = Sampling(max_new_tokens=60, stop=("e",))
    completion = turngym.call(agent, Context(episode="e", new=(user("go"),)), sampling=sampling)
    said = tiny_tokenizer().decode(completion.reply_ids)
    assert completion.finish_reason == "stop" and said.count("e") >= 1
    assert completion.message.content == said.partition("e")[0]
    assert "e" not in tiny_tokenizer().decode(completion.reply_ids[:-1])


class Logged(HFAgent):
    """Writes down which episodes were sampled together, and what was kept."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.log, self.caches = [], []

    def _remember(self, batch):
        self.caches.append(weakref.ref(batch[0].draft.past.cache))
        super()._remember(batch)
        self.log.append([request.episode for request in batch])


def test_a_barrier_wider_than_a_batch_starves_nobody():
    agent = Logged(tiny_model(), tiny_tokenizer(), max_batch=4)
    found = play(agent)
    assert agent.log[:4] == [
        ["g0/0", "g0/1", "g1/0", "g1/1"],
        ["g2/0", "g2/1"],
        ["g0/0", "g0/1", "g1/0", "g1/1"],
        ["g2/0", "g2/1"],
    ]
    assert tokens(found) == tokens(play(HFAgent(tiny_model(), tiny_tokenizer())))


def test_the_caches_of_earlier_turns_are_freed():
    agent = Logged(tiny_model(), tiny_tokenizer())

    alive = []

    class Watched(Talk):
        def step(self, action):
            gc.collect()
            alive.append(sum(ref() is not None for ref in agent.caches))
            return super().step(action)

    rollout(Watched, agent, [Group(key="g", seed=0, sampling=Sampling(max_new_tokens=4))])
    assert alive == [1, 1, 1, 1]


def test_a_small_memory_drops_the_oldest_and_changes_no_token():
    kept = tokens(play(agent_with_ends()))
    agent = Logged(model_with_ends(), tiny_tokenizer(), max_cache_bytes=0)
    seen = []
    agent._settle = lambda batch, error: (
        seen.append(len(agent._pasts)),
        HFAgent._settle(batch, error),
    )
    assert tokens(play(agent)) == kept
    assert set(seen) == {0}


def test_dropout_does_not_reach_the_sampler_and_the_mode_of_the_model_is_left_alone():
    model = tiny_model()
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    agent = HFAgent(model, tiny_tokenizer())
    still = bits(play(agent, groups=1))
    model.train()
    assert bits(play(agent, groups=1)) == still
    assert model.training


def test_a_parser_that_breaks_is_heard_of():
    def parse(text):
        raise ZeroDivisionError

    agent = HFAgent(tiny_model(), tiny_tokenizer(), parse=parse)
    with pytest.raises(ZeroDivisionError):
        turngym.call(agent, Context(episode="e", new=(user("go"),)))


@pytest.mark.parametrize("deterministic", [True, False])
def test_two_event_loops_may_ask_at_once(deterministic):
    agent = HFAgent(tiny_model(), tiny_tokenizer(), deterministic=deterministic)
    sampling, answers = Sampling(max_new_tokens=8), {}

    def context(name):
        return Context(episode=name, new=(user(f"I am {name}"),))

    async def many(first):
        asked = [agent.act(context(f"{first}{k}"), sampling=sampling, seed=k) for k in range(8)]
        for k, completion in enumerate(await asyncio.gather(*asked)):
            answers[f"{first}{k}"] = completion.reply_ids

    threads = [threading.Thread(target=lambda n=n: asyncio.run(many(n))) for n in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    alone = HFAgent(tiny_model(), tiny_tokenizer())
    for name, ids in answers.items():
        again = turngym.call(alone, context(name), sampling=sampling, seed=int(name[1]))
        assert again.reply_ids == ids
    assert len(answers) == 16


def test_a_reply_that_is_no_longer_wanted_leaves_the_others_alone():
    agent = HFAgent(tiny_model(), tiny_tokenizer())
    found = rollout(
        Talk,
        agent,
        [Group(key="g", seed=0, size=3, sampling=Sampling(max_new_tokens=900))],
        RolloutConfig(act_timeout_s=0.05),
    )
    assert {t.status.value for t in found} == {"agent_timeout"}
    assert len(play(agent)[0].turns) == 4  # and the agent still works


def test_the_prompt_of_a_group_is_computed_once_and_its_members_go_their_own_ways():
    agent, computed = HFAgent(tiny_model(), tiny_tokenizer()), []
    agent.model.get_decoder().register_forward_pre_hook(
        lambda _, __, named: computed.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    found = play(agent)
    assert computed[0][0] == 1  # all six begin with the words of Guess
    assert [rows for rows, width in computed[1:] if width == 1][0] == 6
    first = [bytes(t.turns[0].completion.reply_ids) for t in found]
    assert len(set(first)) == 6
    assert tokens(found) == tokens(play(HFAgent(tiny_model(), tiny_tokenizer()), concurrency=1))
