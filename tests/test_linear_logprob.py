"""Chunked log-probabilities and the one-pass policy loss against all logits at once."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from loss_batches import batch_of
from turngym.errors import DataError
from turngym.trainers.kernels.linear_logprob import linear_logprob, linear_objective
from turngym.trainers.kernels.linear_logprob import reference as definition
from turngym.trainers.losses import (
    ClipConfig,
    Denominators,
    clip_loss,
    fused,
    fused_policy_loss,
    plan_scoring,
)
from turngym.trainers.losses.clip import REFERENCE_COLUMN
from turngym.trainers.types import Credit, PolicyOutput

H, V = 6, 13


def drawn(num_positions, num_scored, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(num_positions, H, generator=generator, dtype=torch.float64)
    head = torch.randn(V, H, generator=generator, dtype=torch.float64)
    rows = torch.randperm(num_positions, generator=generator)[:num_scored].sort().values
    targets = torch.randint(V, (num_scored,), generator=generator)
    temperature = 0.5 + torch.rand(num_scored, generator=generator, dtype=torch.float64)
    return (
        hidden.to(dtype).requires_grad_(),
        head.to(dtype).requires_grad_(),
        rows,
        targets,
        temperature.to(dtype),
    )


def test_by_hand():
    # logits (log 1, log 2, log 5) / 1: p = 1/8, 2/8, 5/8; at temperature .5 they are squared:
    # 1/30, 4/30, 25/30
    head = torch.tensor([1.0, 2.0, 5.0]).log()[:, None]
    hidden = torch.tensor([[float("nan")], [1.0], [1.0]])
    rows, targets = torch.tensor([1, 2]), torch.tensor([2, 1])
    logprobs, entropy = linear_logprob(hidden, head, rows, targets, torch.tensor([1.0, 0.5]))
    assert_close(logprobs, torch.tensor([5 / 8, 4 / 30]).log())
    p = torch.tensor([1.0, 2.0, 5.0]) / 8
    q = torch.tensor([1.0, 4.0, 25.0]) / 30
    assert_close(entropy, -torch.stack([(p * p.log()).sum(), (q * q.log()).sum()]))


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_chunks_change_neither_value_nor_gradient(chunk):
    inputs = drawn(11, 7)
    weights = torch.randn(2, 7, dtype=torch.float64)

    def scalar(pair):
        return (weights[0] * pair[0] + weights[1] * pair[1]).sum()

    got = linear_logprob(*inputs, chunk=chunk)
    expected = definition.linear_logprob(*inputs)
    for left, right in zip(got, expected, strict=True):
        assert_close(left, right)
    for left, right in zip(
        torch.autograd.grad(scalar(got), inputs[:2]),
        torch.autograd.grad(scalar(expected), inputs[:2]),
        strict=True,
    ):
        assert_close(left, right)


@pytest.mark.parametrize("used", ["logprobs", "entropy"])
def test_either_output_may_go_unused(used):
    inputs = drawn(5, 4)
    index = ["logprobs", "entropy"].index(used)
    got = torch.autograd.grad(linear_logprob(*inputs)[index].sum(), inputs[:2])
    expected = torch.autograd.grad(definition.linear_logprob(*inputs)[index].sum(), inputs[:2])
    for left, right in zip(got, expected, strict=True):
        assert_close(left, right)


def test_a_frozen_head_or_frozen_states_get_no_gradient():
    hidden, head, rows, targets, _ = drawn(5, 4)
    logprobs, _ = linear_logprob(hidden, head.detach(), rows, targets)
    logprobs.sum().backward()
    assert hidden.grad is not None
    logprobs, _ = linear_logprob(hidden.detach(), head, rows, targets)
    logprobs.sum().backward()
    assert head.grad is not None


def test_bfloat16_inputs_keep_float32_statistics():
    hidden, head, rows, targets, temperature = drawn(300, 300, torch.bfloat16)
    logprobs, entropy = linear_logprob(hidden, head, rows, targets, temperature, chunk=7)
    exact = hidden.detach().double().requires_grad_(), head.detach().double().requires_grad_()
    wanted = definition.linear_logprob(*exact, rows, targets, temperature.double())
    assert logprobs.dtype == entropy.dtype == torch.float32
    assert_close(logprobs.detach(), wanted[0].detach().float(), atol=1e-4, rtol=1e-4)
    assert_close(entropy.detach(), wanted[1].detach().float(), atol=1e-4, rtol=1e-4)
    logprobs.sum().backward()
    wanted[0].sum().backward()
    # 43 chunks summed in bfloat16 would be off by several of its steps of 1/256
    assert head.grad.dtype == torch.bfloat16
    assert_close(head.grad.double(), exact[1].grad, atol=1e-3, rtol=1 / 256)


def test_memory_grows_with_the_chunk_and_not_with_the_tokens(monkeypatch):
    largest = 0
    make_logits = fused.linear_logprob.__globals__["_logits"]

    def watched(*args):
        nonlocal largest
        logits = make_logits(*args)
        largest = max(largest, logits.shape[0])
        return logits

    monkeypatch.setitem(fused.linear_logprob.__globals__, "_logits", watched)
    inputs = drawn(60, 50)
    linear_logprob(*inputs, chunk=8)[0].sum().backward()
    assert largest == 8


def test_positions_that_are_not_scored_are_never_read():
    hidden, head, rows, targets, temperature = drawn(9, 4)
    poisoned = hidden.detach().clone()
    untouched = torch.ones(9, dtype=torch.bool)
    untouched[rows] = False
    poisoned[untouched] = float("nan")
    poisoned.requires_grad_()
    logprobs, entropy = linear_logprob(poisoned, head, rows, targets, temperature)
    assert_close(logprobs, definition.linear_logprob(hidden, head, rows, targets, temperature)[0])
    (logprobs + entropy).sum().backward()
    assert (poisoned.grad[untouched] == 0).all()
    assert head.grad.isfinite().all()


def test_an_objective_of_the_chunk_is_differentiated_in_the_forward_pass():
    inputs = drawn(11, 7)

    def objective(logprobs, entropy, start, stop):
        return (logprobs.exp() * torch.arange(start, stop)).sum() + entropy.square().sum()

    value = linear_objective(*inputs, objective, [(0, 3), (3, 7)], True)
    expected = objective(*definition.linear_logprob(*inputs), 0, 7)
    assert_close(value, expected)
    for left, right in zip(
        torch.autograd.grad(3 * value, inputs[:2]),
        torch.autograd.grad(3 * expected, inputs[:2]),
        strict=True,
    ):
        assert_close(left, right)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_waits_for_the_backward_pass_is_no_larger_than_it_must_be(dtype):
    """float32 sums of a head are gigabytes; a float16 gradient needs their range for its scale."""
    hidden, head, rows, targets, _ = drawn(300, 300, dtype)
    with torch.no_grad():
        hidden.mul_(0.1)

    def objective(logprobs, _entropy, _start, _stop):
        return logprobs.sum() * 1e-6

    spans = [(start, min(start + 7, 300)) for start in range(0, 300, 7)]
    value = linear_objective(hidden, head, rows, targets, None, objective, spans, False)
    kept = value.grad_fn.saved_tensors[1].dtype
    assert kept == (torch.bfloat16 if dtype == torch.bfloat16 else torch.float32)
    got = torch.autograd.grad(1e6 * value, (hidden, head))
    exact = hidden.detach().double().requires_grad_(), head.detach().double().requires_grad_()
    wanted = torch.autograd.grad(definition.linear_logprob(*exact, rows, targets)[0].sum(), exact)
    for mine, expected in zip(got, wanted, strict=True):
        assert mine.dtype == dtype
        assert_close(mine.double(), expected, atol=5e-3, rtol=2 * torch.finfo(dtype).eps)


def policy_case(turn_lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    batch = batch_of(turn_lengths, gap=2)
    count = batch.num_tokens
    batch = replace(
        batch,
        token_ids=torch.randint(V, (count,), generator=generator),
        temperature=torch.tensor([0.7, 1.0, 0.0, 1.3, 1.0])[: batch.num_turns],
        loss_mask=torch.tensor([True, True, True, False, True])[: batch.num_turns],
    )
    hidden, head = normal(count, H).requires_grad_(), normal(V, H).requires_grad_()
    ours = batch.turn_of_token >= 0
    tokens = ours.nonzero()[:, 0]
    warmth = batch.temperature[batch.turn_of_token[tokens]].double()
    warmth = torch.where(warmth > 0, warmth, torch.ones_like(warmth))
    logprobs, entropy = definition.linear_logprob(
        hidden, head, tokens - 1, batch.token_ids[tokens], warmth
    )
    zeros = torch.zeros(count, dtype=torch.float64)
    output = PolicyOutput(
        logprobs=zeros.index_put((tokens,), logprobs),
        entropy=zeros.index_put((tokens,), entropy),
    )
    old = output.logprobs.detach() + 0.1 * normal(count)
    batch = replace(batch, sampled_logprobs=torch.where(ours, old, 0.0))
    batch = batch.with_columns(token={REFERENCE_COLUMN: old + 0.1 * normal(count)})
    credit = Credit(turn=normal(batch.num_turns), weight=normal(count).abs())
    return hidden, head, batch, credit, output


@pytest.mark.parametrize("ratio", ["token", "turn", "sequence"])
@pytest.mark.parametrize("longest", [2, 4096])
@pytest.mark.parametrize("chunk", [1, 4, 1000])
def test_the_fused_loss_is_the_clipped_loss(ratio, longest, chunk, monkeypatch):
    monkeypatch.setattr(fused, "LONGEST_CHUNK", longest)
    hidden, head, batch, credit, output = policy_case([[3, 1, 2], [4, 3]])
    config = ClipConfig(ratio=ratio, low=0.05, high=0.1, kl_coef=0.2, entropy_coef=0.1)
    denominators = Denominators.of(batch)
    plan = plan_scoring(batch, ratio, chunk)
    assert plan.one_pass == (ratio == "token" or (ratio == "turn" and longest == 4096))
    got = fused_policy_loss(hidden, head, batch, credit, denominators, config, plan)
    expected = clip_loss(output, batch, credit, denominators, config)
    assert_close(got.value, expected.value)
    for left, right in zip(
        torch.autograd.grad(got.value, (hidden, head)),
        torch.autograd.grad(expected.value, (hidden, head)),
        strict=True,
    ):
        assert_close(left, right)
    assert got.metrics == pytest.approx(dict(expected.metrics), abs=1e-6)


def test_no_turn_is_cut_when_ratios_are_turn_level():
    batch = batch_of([[3, 1, 2], [9, 1]])
    plan = plan_scoring(batch, "turn", 4)
    assert plan.spans == ((0, 4), (4, 6), (6, 15), (15, 16))
    assert plan_scoring(batch, "token", 10).spans == ((0, 10), (10, 16))


def test_only_trained_tokens_meet_the_head():
    batch = replace(batch_of([[2, 1], [1]]), loss_mask=torch.tensor([True, False, True]))
    assert plan_scoring(batch, "token").tokens.tolist() == [1, 2, 6]


def test_nothing_trained_gives_zero_and_zero_gradients():
    hidden, head, batch, credit, _ = policy_case([[2]])
    batch = replace(batch, traj_mask=torch.tensor([False]))
    plan = plan_scoring(batch, "turn")
    loss = fused_policy_loss(
        hidden, head, batch, credit, Denominators.of(batch), ClipConfig(ratio="turn"), plan
    )
    loss.value.backward()
    assert loss.value == 0
    assert (hidden.grad == 0).all()
    assert (head.grad == 0).all()


def test_a_trained_token_that_opens_a_segment_is_refused():
    with pytest.raises(DataError, match="segment"):
        plan_scoring(batch_of([[2]], gap=0), "token")
