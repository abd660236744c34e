"""Follow-up likelihood: one packed forward gives what one plain forward per follow-up gives."""

import math
from array import array
from dataclasses import replace

import pytest
import torch

from turngym.agents.demonstrate import DemonstratingAgent
from turngym.agents.likelihood import Likelihood
from turngym.agents.tiny import tiny_model, tiny_tokenizer
from turngym.envs.emotional_support.env import EmotionalSupport
from turngym.errors import ConfigError
from turngym.rewards.emotion_followup import follow_up_likelihood
from turngym.trainers.batch import collate
from turngym.trainers.expert import expert_script
from turngym.trainers.rollout import Group, rollout
from turngym.trainers.signals import FollowUp, FollowUpConfig, Models
from turngym.types import EpisodeStatus, assistant, user

TEXTS = {"contented": ("Thank you.", "I feel better now."), "disappointed": ("Forget it.",)}


def random_model(seed):
    model = tiny_model(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return model


@pytest.fixture(scope="module")
def models():
    return Models(
        policy=random_model(1),
        tokenizer=tiny_tokenizer(),
        initial=lambda: random_model(2),
        max_tokens=2048,
    )


@pytest.fixture(scope="module")
def episodes():
    def make():
        return EmotionalSupport(preset="demo")

    agent = DemonstratingAgent(expert_script(make(), noise=0.5), tiny_tokenizer())
    return rollout(make, agent, [Group(key=str(i), seed=i) for i in range(3)])


def test_likelihood_by_the_models_own_forward(models):
    score = Likelihood(models.policy, models.tokenizer)
    text = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>user\n"
    head = models.tokenizer.encode(text, add_special_tokens=False)
    words = models.tokenizer.encode("Oh no.", add_special_tokens=False)
    with torch.no_grad():
        logprobs = models.policy(torch.tensor([[*head, *words]])).logits[0].log_softmax(-1)
    by_hand = [float(logprobs[len(head) - 1 + k, i]) for k, i in enumerate(words)]
    assert score([user("Hi")], user("Oh no.")) == pytest.approx(sum(by_hand) / len(words), abs=1e-5)
    with pytest.raises(ConfigError, match="must hold"):
        score([user("Hi")], user(" "))


@pytest.mark.parametrize("reader", ["initial", "policy"])
def test_the_signal_is_the_reward_of_the_recorded_episode(models, episodes, reader):
    config = FollowUpConfig(reader=reader, as_reward=True, **TEXTS)
    broken = replace(episodes[1], status=EpisodeStatus.SIMULATOR_ERROR, outcome=None)
    given = [episodes[0], broken, episodes[2]]
    batch = collate(given)
    columns = FollowUp(config, models).columns(given, batch, models)
    model = models.initial() if reader == "initial" else models.policy
    reward = follow_up_likelihood(Likelihood(model, models.tokenizer), **TEXTS)
    expected = [*reward(episodes[0]), *[0.0] * len(broken.turns), *reward(episodes[2])]
    torch.testing.assert_close(columns.turn["follow_up"], torch.tensor(expected), rtol=0, atol=1e-4)
    assert max(expected) - min(expected) > 0.1  # values that are all alike would prove nothing
    assert columns.replaced["reward_mask"].sum() == sum(len(e.turns) for e in episodes[::2])
    assert math.isfinite(columns.metrics["mean"])


def test_a_reply_that_was_cut_short_is_closed_by_the_template(models, episodes):
    first = episodes[0].turns[0]
    ids = first.completion.reply_ids[:-1]  # the end token was never sampled
    cut = replace(
        first,
        completion=replace(
            first.completion,
            reply_ids=array("i", ids),
            reply_logprobs=array("f", [-1.0] * len(ids)),
        ),
    )
    episode = replace(episodes[0], turns=(cut,))
    values = FollowUp(FollowUpConfig(**TEXTS), models).columns(
        [episode], collate([episode]), models
    )
    reward = follow_up_likelihood(Likelihood(models.initial(), models.tokenizer), **TEXTS)
    assert values.turn["follow_up"].tolist() == pytest.approx(reward(episode), abs=1e-4)


def test_without_disappointed_texts_it_is_the_plain_likelihood(models, episodes):
    config = FollowUpConfig(contented=("Thank you.",), disappointed=())
    episode = replace(episodes[0], turns=episodes[0].turns[:1])
    found = FollowUp(config, models).columns([episode], collate([episode]), models)
    said = [*episode.turns[0].seen, assistant(episode.turns[0].completion.message.content)]
    score = Likelihood(models.initial(), models.tokenizer)
    assert float(found.turn["follow_up"][0]) == pytest.approx(
        score(said, user("Thank you.")), abs=1e-4
    )
    assert found.replaced == {} and found.turn["follow_up"][0] < 0
