"""float64 gradcheck of every loss and of both forms of the head; what else only gradients show."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from batches import Traj, make_batch
from loss_batches import batch_of
from test_linear_logprob import policy_case
from test_loss_properties import AGGREGATIONS, FULL, drawn, gradients
from turngym.trainers.dpo import dpo_loss
from turngym.trainers.kernels.linear_logprob import linear_logprob, linear_objective
from turngym.trainers.losses import (
    ClipConfig,
    Denominators,
    MismatchConfig,
    ValueConfig,
    clip_loss,
    fused_policy_loss,
    plan_scoring,
    value_loss,
)
from turngym.trainers.signals.implicit_reward import pairwise
from turngym.trainers.signals.progress import progress_loss
from turngym.trainers.types import Credit, PolicyOutput

SHAPE = [[3, 1], [], [2, 4, 1]]


def normal(*size, seed=0):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def trained_batch(seed=3):
    """Random log-probabilities; every trajectory counts, one turn is not trained."""
    batch, credit, output = drawn(SHAPE, seed=seed)
    batch = replace(
        batch,
        loss_mask=torch.tensor([True, True, True, True, False]),
        traj_mask=torch.ones(3, dtype=torch.bool),
    )
    return batch, credit, output


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("ratio", ["token", "turn", "sequence"])
@pytest.mark.parametrize("dual_clip", [None, 1.5])
def test_every_aggregation(aggregation, ratio, dual_clip):
    batch, credit, output = trained_batch()
    per_trajectory = torch.tensor([0.7, 0.0, -1.3], dtype=torch.float64)[batch.traj_of_turn]
    credit = Credit(turn=per_trajectory)  # one advantage per unit: else it is no plain gradient
    settings = {**FULL, "mismatch": None, "dual_clip": dual_clip}
    config = ClipConfig(ratio=ratio, aggregation=aggregation, **settings)
    denominators = Denominators.of(batch)

    def value(logprobs, entropy):
        output = PolicyOutput(logprobs=logprobs, entropy=entropy)
        return clip_loss(output, batch, credit, denominators, config).value

    assert torch.autograd.gradcheck(value, (output.logprobs, output.entropy))


@pytest.mark.parametrize("level", ["token", "turn", "sequence"])
@pytest.mark.parametrize("mode", ["truncate", "mask"])
def test_token_advantages_with_weights_and_engine_mismatch(level, mode):
    batch, credit, output = trained_batch()
    credit = replace(credit, token=normal(batch.num_tokens, seed=7))
    mismatch = MismatchConfig(level=level, mode=mode, high=1.1)
    config = ClipConfig(**{**FULL, "mismatch": mismatch})
    denominators = Denominators.of(batch)

    def value(logprobs, entropy):
        output = PolicyOutput(logprobs=logprobs, entropy=entropy)
        return clip_loss(output, batch, credit, denominators, config).value

    assert torch.autograd.gradcheck(value, (output.logprobs, output.entropy))


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_the_value_loss(clip, aggregation):
    batch, _, _ = trained_batch()
    old = normal(batch.num_tokens, seed=1)
    batch = batch.with_columns(token={"values": old})
    credit = Credit(turn=torch.zeros(5), returns=normal(batch.num_tokens, seed=2))
    config = ValueConfig(clip=clip, aggregation=aggregation, fixed_length=7)
    denominators = Denominators.of(batch)

    def value(values):
        output = PolicyOutput(logprobs=torch.zeros(batch.num_tokens), values=values)
        return value_loss(output, batch, credit, denominators, config).value

    start = old + 0.6 * normal(batch.num_tokens, seed=4)
    assert torch.autograd.gradcheck(value, (start.requires_grad_(),))


def test_the_losses_of_signals():
    batch = make_batch(
        [
            Traj(group=0, rewards=[None, None], outcome=1.0),
            Traj(group=0, rewards=[None], outcome=0.0),
            Traj(group=0, rewards=[None], outcome=0.0),
        ]
    )
    values = normal(4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: pairwise(x[:3], batch).loss, (values,))
    assert torch.autograd.gradcheck(lambda x: progress_loss(x, batch), (values,))


def test_the_preference_loss():
    gains = normal(4).requires_grad_()
    winner, loser = torch.tensor([0, 2]), torch.tensor([1, 3])
    assert torch.autograd.gradcheck(lambda x: dpo_loss(x, winner, loser, 0.3)[0], (gains,))


@pytest.mark.parametrize("chunk", [2, 100])
def test_the_head(chunk):
    hidden, head = normal(6, 3).requires_grad_(), normal(5, 3, seed=1).requires_grad_()
    rows, targets = torch.tensor([0, 2, 3, 5]), torch.tensor([4, 0, 1, 1])
    warmth = torch.tensor([1.0, 0.5, 2.0, 1.0], dtype=torch.float64)

    def two_pass(hidden, head):
        return linear_logprob(hidden, head, rows, targets, warmth, chunk=chunk)

    def one_pass(hidden, head):
        def objective(logprobs, entropy, start, stop):
            return (logprobs.exp() * torch.arange(start, stop)).sum() - entropy.square().sum()

        return linear_objective(
            hidden, head, rows, targets, warmth, objective, [(0, 1), (1, 4)], True
        )

    assert torch.autograd.gradcheck(two_pass, (hidden, head))
    assert torch.autograd.gradcheck(one_pass, (hidden, head))


@pytest.mark.parametrize("one_pass", [True, False])
def test_the_fused_loss(one_pass):
    hidden, head, batch, _, _ = policy_case([[3, 1, 2], [4, 3]])
    credit = Credit(turn=torch.tensor([0.7, 0.7, 0.7, -1.3, -1.3], dtype=torch.float64))
    config = ClipConfig(ratio="turn", low=0.05, high=0.1, kl_coef=0.2, entropy_coef=0.1)
    plan = replace(plan_scoring(batch, "turn", chunk=4), one_pass=one_pass)
    denominators = Denominators.of(batch)

    def value(hidden, head):
        return fused_policy_loss(hidden, head, batch, credit, denominators, config, plan).value

    assert torch.autograd.gradcheck(value, (hidden, head))


def test_the_turn_ratio_of_lone_turns_is_the_sequence_ratio():
    """A2TGPO without tool turns is GSPO's loss on the normalised outcome."""
    batch, credit, output = drawn([[3], [2], [4]], seed=2)
    credit = Credit(turn=credit.turn)
    made = []
    for ratio in ("turn", "sequence"):
        config = ClipConfig(ratio=ratio, low=3e-3, high=4e-3, aggregation="seq-mean-token-mean")
        loss = clip_loss(output, batch, credit, Denominators.of(batch), config)
        made.append((loss.value, *torch.autograd.grad(loss.value, [output.logprobs])))
    for turn, sequence in zip(*made, strict=True):
        assert_close(turn, sequence)


@pytest.mark.parametrize("ratio", ["token", "turn", "sequence"])
def test_padding_and_order_change_no_gradient(ratio):
    """Values may agree where gradients land on the wrong tokens."""
    shape, order = [[3, 1], [2], [1, 1, 4]], [2, 0, 1]
    config = ClipConfig(ratio=ratio, aggregation="seq-mean-token-mean", entropy_coef=0.1)
    columns = {(b, t): normal(n, 4, seed=10 * b + t) for b, row in enumerate(shape)
               for t, n in enumerate(row)}  # fmt: skip
    found = []
    for gap, sequence in ((0, [0, 1, 2]), (3, [0, 1, 2]), (1, order)):
        batch = batch_of([shape[b] for b in sequence], gap=gap)
        ours = batch.turn_of_token >= 0
        drawn_rows = torch.cat([columns[b, t] for b in sequence for t in range(len(shape[b]))])
        table = torch.full((batch.num_tokens, 4), 9.0, dtype=torch.float64)
        table[ours] = drawn_rows
        batch = replace(batch, sampled_logprobs=table[:, 0])
        leaves = [(table[:, 0] + 0.1 * table[:, 1]).requires_grad_(), table[:, 2].requires_grad_()]
        advantage = torch.tensor([float(b - t) for b in sequence for t in range(len(shape[b]))])
        output = PolicyOutput(logprobs=leaves[0], entropy=leaves[1])
        credit = Credit(turn=advantage.double())
        value = clip_loss(output, batch, credit, Denominators.of(batch), config).value
        slopes = gradients(value, output)
        lengths = [n for b in sequence for n in shape[b]]
        names = [(b, t) for b in sequence for t in range(len(shape[b]))]
        pieces = zip(*(slope[ours].split(lengths) for slope in slopes), strict=True)
        assert all((slope[~ours] == 0).all() for slope in slopes)
        found.append((value.detach(), dict(zip(names, pieces, strict=True))))
    for value, pieces in found[1:]:
        assert_close(value, found[0][0])
        for name, pair in pieces.items():
            for left, right in zip(pair, found[0][1][name], strict=True):
                assert_close(left, right)
