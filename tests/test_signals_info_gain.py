"""Information gain: the packed forward equals one forward per turn, and gains are what they say."""

import math
from dataclasses import replace

import pytest
import torch

from test_batch import trajectory, turn
from test_forward import model_of
from turngym.agents.tiny import tiny_model, tiny_tokenizer
from turngym.errors import ConfigError
from turngym.serial import dumps, loads
from turngym.trainers.batch import collate
from turngym.trainers.signals import InfoGain, InfoGainConfig, Models
from turngym.trainers.signals.info_gain import answer_branch, gains
from turngym.trainers.signals.teacher_forcing import (
    Branch,
    branch_scores,
    scores_naive,
    scores_packed,
)
from turngym.types import EpisodeStatus, Privileged

BRANCHES = [
    Branch(at=3, ids=(5, 6), scored=(True, True)),
    Branch(at=3, ids=(5, 9, 7), scored=(False, True, True)),
    Branch(at=9, ids=(5,), scored=(True,)),
    Branch(at=1, ids=(8, 8, 8, 8), scored=(True, False, False, True)),
    Branch(at=14, ids=(5, 6), scored=(True, True)),
]
TRUNK = [1, 4, 9, 16, 25, 36, 49, 3, 2, 7, 11, 13, 17, 19, 23, 29]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
def test_packed_equals_one_by_one(name, attention):
    model = model_of(name, attention)
    expected = scores_naive(model, TRUNK, BRANCHES)
    torch.testing.assert_close(scores_packed(model, TRUNK, BRANCHES), expected, rtol=0, atol=1e-5)
    assert float(expected.std()) > 0.1  # branches that all score alike would prove nothing


@pytest.mark.parametrize(("name", "attention"), [("mistral", "sdpa"), ("gemma2", "eager")])
def test_sliding_windows_are_scored_one_by_one(name, attention):
    model = model_of(name, attention)
    expected = scores_naive(model, TRUNK, BRANCHES)
    torch.testing.assert_close(branch_scores(model, TRUNK, BRANCHES), expected)


def test_the_naive_score_is_the_mean_log_probability():
    model = model_of("llama", "eager")
    whole = model(torch.tensor([[*TRUNK[:3], 5, 9, 7]])).logits[0].log_softmax(-1)
    by_hand = (whole[3, 9] + whole[4, 7]) / 2  # the scored ones are the second and third
    assert scores_naive(model, TRUNK, BRANCHES[1:2]).item() == pytest.approx(by_hand.item())


def test_only_tokens_of_the_answer_are_scored():
    tokenizer = tiny_tokenizer()
    branch = answer_branch(tokenizer, "buy it: {answer} now", "red shoes", 4)
    said = [i for i, scored in zip(branch.ids, branch.scored, strict=True) if scored]
    assert tokenizer.decode(said).strip() == "red shoes"
    assert branch.scored[-1] and not branch.scored[0]
    with pytest.raises(ConfigError, match="must hold text"):
        answer_branch(tokenizer, "{answer}", " ", 0)


def test_gains_are_differences_and_the_last_turn_has_none():
    # Trajectories of 3, 1, 0 and 2 turns; the fourth has no answer in its first prompt.
    levels = torch.tensor([0.1, 0.4, 0.3, 0.9, torch.nan, 0.5])
    cu = torch.tensor([0, 3, 4, 4, 6])
    gain, exists = gains(levels, cu, first_turn=False)
    torch.testing.assert_close(gain, torch.tensor([0.3, -0.1, 0, 0, 0, 0]))
    assert exists.tolist() == [True, True, False, False, False, False]
    gain, exists = gains(levels, cu, first_turn=True)
    torch.testing.assert_close(gain, torch.tensor([0, -0.1, 0, 0, 0, 0]))
    assert exists.tolist() == [False, True, False, False, False, False]


def test_a_gain_of_exactly_zero_still_exists():
    gain, exists = gains(torch.tensor([0.2, 0.2]), torch.tensor([0, 2]), first_turn=False)
    assert gain[0] == 0 and exists[0]


@pytest.fixture(scope="module")
def models():
    model = tiny_model(seed=5)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(1))
    return Models(policy=model, tokenizer=tiny_tokenizer(), initial=lambda: model, max_tokens=1000)


def episodes(references):
    """A trajectory of one segment, one with two, and one that does not count."""
    secret = Privileged(references=references)
    turns = [
        turn([1, 2, 3], [4, 5], opens=True),
        turn([6, 7], [8]),
        turn([9, 10, 11], [12, 13]),
    ]
    cut = [turn([1, 2, 3], [4, 5], opens=True), turn([20, 21, 22, 23], [24], opens=True)]
    return [
        replace(trajectory(turns), privileged=secret),
        replace(trajectory(cut), privileged=secret),
        replace(trajectory(turns, status=EpisodeStatus.ENV_ERROR), privileged=secret),
    ]


def level(models, context, text):
    """Geometric mean probability of `text` after the ids `context`, by the model's own forward."""
    ids = models.tokenizer.encode(text, add_special_tokens=False)
    with torch.no_grad():
        logits = models.policy(torch.tensor([[*context, *ids]])).logits[0]
    logprobs = logits.log_softmax(-1)
    total = sum(float(logprobs[len(context) - 1 + k, i]) for k, i in enumerate(ids))
    return math.exp(total / len(ids))


CONTEXTS = [[1, 2, 3], [1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]]


@pytest.mark.parametrize("several", ["max", "mean", "first"])
@pytest.mark.parametrize("space", ["prob", "logprob"])
def test_gains_of_whole_trajectories_with_several_references(models, several, space):
    texts = ("blue", "red shoes", "a")
    config = InfoGainConfig(ig_space=space, several=several)
    done = episodes(texts)
    columns = InfoGain(config, models).columns(done, collate(done), models)
    reduce = {"max": max, "mean": lambda x: sum(x) / len(x), "first": lambda x: x[0]}[several]

    def at(context):
        value = reduce([level(models, context, text) for text in texts])
        return value if space == "prob" else math.log(value)

    query, first, second = (at(context) for context in CONTEXTS)
    cut = at([20, 21, 22, 23])  # the second segment does not see the first
    expected = [first - query, second - first, 0, cut - query, 0, 0, 0, 0]
    torch.testing.assert_close(columns.turn["info_gain"], torch.tensor(expected), rtol=0, atol=1e-5)
    assert columns.turn["info_gain_mask"].tolist() == [True, True, False, True] + [False] * 4
    assert max(map(abs, expected)) > 1e-5
    assert columns.metrics["turns"] == 3


def test_gains_can_be_the_turn_rewards(models):
    done = episodes(("blue",))
    columns = InfoGain(InfoGainConfig(as_reward=True), models).columns(done, collate(done), models)
    assert torch.equal(columns.replaced["turn_rewards"], columns.turn["info_gain"])
    assert torch.equal(columns.replaced["reward_mask"], columns.turn["info_gain_mask"])


def test_a_trajectory_without_an_answer_has_no_gain(models):
    done = [*episodes(())[:1], *episodes(("blue",))[:1]]
    columns = InfoGain(InfoGainConfig(), models).columns(done, collate(done), models)
    assert columns.turn["info_gain_mask"].tolist() == [False] * 3 + [True, True, False]
    assert columns.turn["info_gain"].isfinite().all()


def test_each_exchange_is_measured_by_its_own_answer(models):
    """Two turns about "blue", one about nothing known, two about "red shoes", of which the first
    asks back."""
    replies = [([1, 2, 3], [4, 5], 0), ([6, 7], [8], 0), ([9], [10], 1)]
    replies += [([11], [12], 2), ([13], [14, 15], 3)]
    turns = [
        turn(seen, said, opens=k == 0, exchange=exchange)
        for k, (seen, said, exchange) in enumerate(replies)
    ]
    secret = Privileged(
        references=("a",), exchange_references=(("blue",), (), ("red shoes",), None)
    )
    one = replace(trajectory(turns), privileged=secret)
    other = episodes(("blue",))[0]  # one answer for the whole episode, whatever its exchanges
    done = [loads(dumps(one)), other]
    signal = InfoGain(InfoGainConfig(), models)
    columns = signal.columns(done, collate(done), models)
    prompts, read = [], []
    for seen, said, _ in replies:
        prompts.append([*read, *seen])
        read += [*seen, *said]
    expected = [
        level(models, prompts[1], "blue") - level(models, prompts[0], "blue"),
        *(0, 0),  # the next prompt asks for something else
        level(models, prompts[4], "red shoes") - level(models, prompts[3], "red shoes"),
        0,
    ]
    found = columns.turn["info_gain"]
    torch.testing.assert_close(found[:5], torch.tensor(expected), rtol=0, atol=1e-5)
    mask = columns.turn["info_gain_mask"].tolist()
    assert mask == [True, False, False, True, False] + [True, True, False]
    first = InfoGain(InfoGainConfig(baseline="first_turn"), models)
    mask = first.columns(done, collate(done), models).turn["info_gain_mask"].tolist()
    assert mask == [False] * 5 + [False, True, False]
    assert signal.refusal([replace(secret, references=())]) == ""


def test_answers_are_looked_for_in_eight_tasks_at_most(models):
    signal = InfoGain(InfoGainConfig(), models)
    drawn = []

    def secrets(good):
        for index in range(20):
            drawn.append(index)
            yield Privileged(references=("x",) if index == good else (" ",))

    assert signal.refusal(secrets(2)) == "" and "references" in signal.refusal(secrets(8))
    assert len(drawn) <= 16
