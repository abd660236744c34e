"""Agents: rendering by appending, exact log-probabilities, noise that no neighbour can change."""

import asyncio
import json
from array import array
from dataclasses import replace

import pytest
import torch

from guess import Guess
from test_forward import BACKENDS, model_of
from turngym.agents.demonstrate import DemonstratingAgent
from turngym.agents.hf import HFAgent
from turngym.agents.parse import parse_hermes
from turngym.agents.render import Renderer, past_ids
from turngym.agents.replay import ReplayAgent
from turngym.agents.sampler import sample, uniform
from turngym.agents.scripted import RandomAgent, ScriptedAgent
from turngym.agents.tiny import load_tiny, tiny_model, tiny_tokenizer
from turngym.errors import ConfigError, UnknownNameError, UsageError
from turngym.trainers.batch import collate
from turngym.trainers.forward import policy_output
from turngym.trainers.rollout import Group, RolloutConfig, rollout
from turngym.types import (
    Completion,
    Context,
    EpisodeStatus,
    Sampling,
    ToolCall,
    Turn,
    assistant,
    system,
    tool,
    user,
)

DROPS_REASONING = """
{%- for m in messages -%}<|im_start|>{{ m.role }}
{% if m.reasoning_content and loop.last %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}<|im_end|>
{% endfor -%}{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""

LLAMA_LIKE = """
{%- for m in messages -%}<|im_start|>{{ m.role }}<tool_call>

{{ m.content | trim }}<|im_end|>{%- endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant<tool_call>

{% endif -%}"""


def tokenizer_with(template=None):
    tokenizer = tiny_tokenizer()
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer


def turn_of(renderer, context, text, *, ended=True):
    """The turn in which `text` was sampled after `context`, and the context that follows."""
    prompt = renderer.prompt(context)
    ids = array("i", renderer.tokenizer.encode(text, add_special_tokens=False))
    if ended:
        ids.append(renderer.tokenizer.eos_token_id)
    completion = Completion(
        message=parse_hermes(text),
        new_prompt_ids=prompt.new_ids,
        reply_ids=ids,
        reply_logprobs=array("f", [-1.0]) * len(ids),
        opens_segment=prompt.opens_segment,
    )
    return Turn(seen=context.new, completion=completion)


def after(context, turn, *new):
    return replace(context, turns=(*context.turns, turn), new=new)


@pytest.mark.parametrize("template", [None, LLAMA_LIKE])
def test_prompts_append_to_what_was_sampled(template):
    renderer = Renderer(tokenizer_with(template))
    context = Context(episode="e", new=(system("Be kind."), user("Héllo 🙂\n")))
    for said in ("hi", "naïve  spaces ", ""):
        context = after(context, turn_of(renderer, context, said), user(f"and then, {said}?"))
    prompt = renderer.prompt(context)
    whole = renderer.tokenizer.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in context.messages],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert not prompt.opens_segment
    text = renderer.tokenizer.decode(past_ids(context) + prompt.new_ids)
    if template is None:  # the other one trims what was really sampled
        assert text == whole
    assert text.count("<|im_end|>") == whole.count("<|im_end|>")


def test_a_reply_cut_by_length_is_closed_by_the_prompt():
    renderer = Renderer(tokenizer_with())
    context = Context(episode="e", new=(user("go"),))
    cut = after(context, turn_of(renderer, context, "unfinis", ended=False), user("on"))
    text = renderer.tokenizer.decode(renderer.prompt(cut).new_ids)
    assert text.startswith("<|im_end|>\n<|im_start|>user")


def test_a_template_that_drops_reasoning_opens_a_new_segment():
    renderer = Renderer(tokenizer_with(DROPS_REASONING))
    context = Context(episode="e", new=(user("go"),))
    first = turn_of(renderer, context, "<think>hm</think>yes")
    prompt = renderer.prompt(after(context, first, user("on")))
    assert prompt.opens_segment
    assert "hm" not in renderer.tokenizer.decode(prompt.new_ids)
    plain = turn_of(renderer, context, "yes")
    assert not renderer.prompt(after(context, plain, user("on"))).opens_segment


def test_tools_and_tool_messages_are_rendered():
    schema = {"type": "function", "function": {"name": "search", "parameters": {}}}
    renderer = Renderer(tokenizer_with())
    context = Context(episode="e", tools=(schema,), new=(system("S"), user("U")))
    call = '<tool_call>{"name": "search", "arguments": {"q": "x"}}</tool_call>'
    context = after(context, turn_of(renderer, context, call), tool("found", "call_0"))
    prompt = renderer.prompt(context)
    text = renderer.tokenizer.decode(past_ids(context) + prompt.new_ids)
    assert not prompt.opens_segment and '"name": "search"' in text and "tool\nfound" in text


def test_the_reply_of_a_demonstration_is_what_the_template_shows():
    renderer = Renderer(tokenizer_with())
    call = ToolCall(id="call_0", name="search", arguments={"q": "x"})
    ids = renderer.reply(assistant("ok", [call]))
    text = renderer.tokenizer.decode(ids)
    assert text == 'ok<tool_call>{"name": "search", "arguments": {"q": "x"}}</tool_call><|im_end|>'
    assert parse_hermes(text.removesuffix("<|im_end|>")) == assistant("ok", [call])


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>{}</tool_call>",
        "<tool_call>nonsense</tool_call>",
        '<tool_call>{"name": 3}</tool_call>',
        '<tool_call>{"name": "a", "arguments": []}</tool_call>',
        "<tool_call>" + "[" * 10000 + "</tool_call>",
        "<think>never closed",
    ],
)
def test_what_cannot_be_parsed_stays_in_the_content(text):
    assert parse_hermes(text) == assistant(text)


def test_a_tokenizer_without_a_template_is_refused():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(ConfigError, match="no chat template"):
        Renderer(tokenizer)


# --- sampling ---------------------------------------------------------------------------------


def test_noise_matches_the_published_generator_and_ignores_neighbours():
    # SplitMix64 seeded with 0: its first two outputs, from the reference implementation.
    first, second = 0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4
    assert float(uniform([0], 0)[0]) == (first >> 11) * 2.0**-53
    assert float(uniform([0], 1)[0]) == (second >> 11) * 2.0**-53
    assert uniform([7, 5], 3)[1] == uniform([5], 3)[0]


def test_sampled_frequencies_follow_the_distribution():
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).repeat(20_000, 1)
    noise = uniform(list(range(20_000)), 0)
    tokens, logprobs = sample(logits, [Sampling(temperature=2.0)] * 20_000, noise)
    expected = (logits[0] / 2).softmax(-1)
    counts = torch.bincount(tokens, minlength=4).double()
    chi2 = float(((counts - 20_000 * expected) ** 2 / (20_000 * expected)).sum())
    assert chi2 < 16.27  # 0.1 % of the chi-square distribution with 3 degrees of freedom
    torch.testing.assert_close(logprobs, expected.log()[tokens])


def test_top_k_and_top_p_keep_the_most_likely_and_report_the_whole_distribution():
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]]).repeat(500, 1)
    noise = uniform(list(range(500)), 0)
    tokens, logprobs = sample(logits, [Sampling(top_k=2)] * 500, noise)
    assert set(tokens.tolist()) == {0, 1}
    torch.testing.assert_close(logprobs, logits[0].log_softmax(-1)[tokens])
    # Probabilities .644 .237 .087 .032: 0.7 needs the first two.
    tokens, _ = sample(logits, [Sampling(top_p=0.7)] * 500, noise)
    assert set(tokens.tolist()) == {0, 1}


def test_greedy_takes_the_largest_logit():
    tokens, _ = sample(torch.tensor([[0.0, 5.0, 4.9]]), [Sampling(temperature=0)], uniform([0], 0))
    assert tokens.tolist() == [1]


# --- the Hugging Face backend -----------------------------------------------------------------


class Talk(Guess):
    """Guess that goes on for four turns whatever is said."""

    max_turns = 4

    def step(self, action):
        said = action.content[:20]
        return (user(f"You said {said!r}. Go on."),), 0.0, False, False, {}


def play(agent, *, concurrency=64, temperature=1.0, groups=3, tokens=12):
    sampling = Sampling(temperature=temperature, max_new_tokens=tokens)
    todo = [Group(key=f"g{i}", seed=i, size=2, sampling=sampling) for i in range(groups)]
    return rollout(Talk, agent, todo, RolloutConfig(concurrency=concurrency))


def bits(trajectories):
    return [
        (t.episode, [(u.completion.reply_ids, u.completion.reply_logprobs) for u in t.turns])
        for t in trajectories
    ]


def model_for_tokenizer(name, attention):
    """A random model of an architecture whose vocabulary is the tiny tokenizer's."""
    model = model_of(name, attention)
    torch.manual_seed(1)
    model.resize_token_embeddings(len(tiny_tokenizer()), mean_resizing=False)
    model.config.max_position_embeddings = 1024
    return model


@pytest.mark.parametrize(("name", "attention"), BACKENDS)
@torch.no_grad()
def test_sampled_logprobs_equal_a_fresh_forward(name, attention):
    model = model_for_tokenizer(name, attention)
    batch = collate(play(HFAgent(model, tiny_tokenizer())))
    fresh = policy_output(model, batch).logprobs
    assert int((batch.turn_of_token >= 0).sum()) > 50
    torch.testing.assert_close(fresh, batch.sampled_logprobs, atol=1e-5, rtol=1e-5)


def test_the_same_seed_gives_the_same_bits_and_no_concurrency_changes_the_tokens():
    model = tiny_model()
    first = bits(play(HFAgent(model, tiny_tokenizer())))
    assert first == bits(play(HFAgent(model, tiny_tokenizer())))

    def tokens(found):
        return [(name, [ids for ids, _ in turns]) for name, turns in found]

    alone = bits(play(HFAgent(model, tiny_tokenizer()), concurrency=1))
    assert tokens(alone) == tokens(first)
    dynamic = bits(play(HFAgent(model, tiny_tokenizer(), deterministic=False)))
    assert tokens(dynamic) == tokens(first)


def test_forgetting_the_cache_changes_nothing():
    class Forgetful(HFAgent):
        async def act(self, context, **rest):
            self._pasts.clear()
            return await super().act(context, **rest)

    model = tiny_model()
    kept, forgot = (bits(play(kind(model, tiny_tokenizer()))) for kind in (HFAgent, Forgetful))
    assert [[ids for ids, _ in turns] for _, turns in kept] == [
        [ids for ids, _ in turns] for _, turns in forgot
    ]


def test_lengths_stops_and_versions():
    model = tiny_model()
    agent = HFAgent(model, tiny_tokenizer())
    agent.load(model, version=7)
    for trajectory in play(agent, tokens=3):
        for turn in trajectory.turns:
            completion = turn.completion
            assert completion.policy_version == 7 and 1 <= len(completion.reply_ids) <= 3
            ended = completion.reply_ids[-1] == tiny_tokenizer().eos_token_id
            assert (completion.finish_reason == "stop") == ended
    assert not agent._pasts and not agent._live


def test_a_conversation_that_outgrows_the_model_is_truncated_and_kept():
    model = tiny_model()
    model.config.max_position_embeddings = 120
    found = play(HFAgent(model, tiny_tokenizer()), tokens=40)
    assert {t.status for t in found} == {EpisodeStatus.TRUNCATED}
    assert any(0 < len(t.turns) < 4 for t in found)


def test_one_episode_that_gives_up_does_not_block_the_barrier():
    class Moody(HFAgent):
        async def act(self, context, **rest):
            if context.episode == "g0/0" and context.turns:
                raise TimeoutError
            return await super().act(context, **rest)

    found = play(Moody(tiny_model(), tiny_tokenizer()))
    assert found[0].status is EpisodeStatus.AGENT_TIMEOUT
    assert all(len(t.turns) == 4 for t in found[1:])


def test_an_error_of_the_model_reaches_every_episode_of_the_batch():
    class Broken(torch.nn.Module):
        config, device = tiny_model().config, "cpu"

    found = play(HFAgent(Broken(), tiny_tokenizer()), groups=1)
    assert {t.status for t in found} == {EpisodeStatus.INFRA_ERROR}


# --- scripted agents ---------------------------------------------------------------------------


def act(agent, context, seed=0):
    return asyncio.run(agent.act(context, sampling=Sampling(), seed=seed))


def test_a_script_sees_the_context_and_random_is_keyed_by_the_seed():
    context = Context(episode="e", new=(user("a"), user("b")))
    agent = ScriptedAgent(lambda c: c.messages[-1].content * 2)
    assert act(agent, context).message == assistant("bb")
    agent = RandomAgent(["x", "y", "z"])
    drawn = [act(agent, context, seed).message.content for seed in range(30)]
    assert set(drawn) == {"x", "y", "z"}
    assert drawn == [act(agent, context, seed).message.content for seed in range(30)]


def test_replay_repeats_a_recorded_episode_and_notices_another_one():
    recorded = play(HFAgent(tiny_model(), tiny_tokenizer()), groups=1)[0]
    sampling = Sampling(max_new_tokens=12)
    group = Group(key="g0", seed=0, sampling=sampling)
    (again,) = rollout(Talk, ReplayAgent(recorded), [group])
    assert [t.completion for t in again.turns] == [t.completion for t in recorded.turns]
    with pytest.raises(UsageError, match="other messages"):
        act(ReplayAgent(recorded), Context(episode="e", new=(user("else"),)))


def test_demonstrations_have_ids_for_the_words_of_the_script():
    agent = DemonstratingAgent(lambda context: "50", tiny_tokenizer())
    (t,) = rollout(Guess, agent, [Group(key="g", seed=0)])
    assert tiny_tokenizer().decode(t.turns[0].completion.reply_ids) == "50<|im_end|>"
    collate([t]).validate()


def test_an_unknown_family_is_named():
    with pytest.raises(UnknownNameError, match="tiny policy 'web_shp'"):
        load_tiny("web_shp")


def test_the_tokenizer_covers_any_text():
    tokenizer = tiny_tokenizer()
    for text in ("naïve café", "🙂", "搜索", "\x00\x7f", json.dumps({"a": [1, "é"]})):
        assert tokenizer.decode(tokenizer.encode(text)) == text
