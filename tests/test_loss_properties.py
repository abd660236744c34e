"""Policy loss: gradcheck in float64, and what splitting, masking and reordering must not change."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from loss_batches import batch_of, part_of
from turngym.trainers.losses import ClipConfig, Denominators, MismatchConfig, clip_loss
from turngym.trainers.losses.clip import REFERENCE_COLUMN
from turngym.trainers.types import Credit, PolicyOutput

AGGREGATIONS = (
    "token-mean",
    "token-sum",
    "seq-mean-token-mean",
    "seq-mean-token-sum",
    "seq-mean-token-sum-norm",
)
SHAPES = st.lists(st.lists(st.integers(1, 5), max_size=4), min_size=1, max_size=5)


def drawn(shape, seed, gap=1) -> tuple[Any, Any, Any]:
    """A random batch with masks, its credit, and a policy's output."""
    generator = torch.Generator().manual_seed(seed)

    def normal(size):
        return torch.randn(size, generator=generator, dtype=torch.float64)

    batch = batch_of(shape, gap=gap)
    sampled = -normal(batch.num_tokens).abs()
    batch = replace(
        batch,
        sampled_logprobs=sampled,
        old_logprobs=sampled + 0.1 * normal(batch.num_tokens),
        loss_mask=torch.rand(batch.num_turns, generator=generator) < 0.8,
        traj_mask=torch.rand(batch.num_trajectories, generator=generator) < 0.8,
    ).with_columns(token={REFERENCE_COLUMN: sampled + 0.1 * normal(batch.num_tokens)})
    credit = Credit(
        turn=normal(batch.num_turns),
        clip_scale=0.5 + torch.rand(batch.num_turns, generator=generator, dtype=torch.float64),
        weight=torch.rand(batch.num_tokens, generator=generator, dtype=torch.float64),
    )
    logprobs = (sampled + 0.2 * normal(batch.num_tokens)).requires_grad_()
    entropy = normal(batch.num_tokens).abs().requires_grad_()
    return batch, credit, PolicyOutput(logprobs=logprobs, entropy=entropy)


def gradients(value, output):
    return torch.autograd.grad(value, [output.logprobs, output.entropy])


FULL: dict[str, Any] = dict(
    kl_coef=0.3,
    entropy_coef=0.1,
    dual_clip=1.5,
    fixed_length=7,
    mismatch=MismatchConfig(level="turn"),
)


@pytest.mark.parametrize("ratio", ["token", "turn", "sequence"])
@pytest.mark.parametrize("kl", ["k1", "k2", "k3"])
def test_the_gradient_is_that_of_the_value(ratio, kl):
    batch, credit, output = drawn([[3, 1], [], [2, 4, 1]], seed=3)
    # where the advantage changes inside a ratio's unit the loss gives each token its own credit,
    # which is no plain gradient: one advantage per trajectory and no weights here
    advantage = torch.tensor([0.7, 0.0, -1.3], dtype=torch.float64)[batch.traj_of_turn]
    credit = Credit(turn=advantage, clip_scale=credit.clip_scale)
    batch = replace(
        batch,
        loss_mask=torch.tensor([True, True, True, True, False]),
        traj_mask=torch.ones(3, dtype=torch.bool),
    )
    if ratio == "sequence":  # nor one clip range per turn
        credit = replace(credit, clip_scale=None)
    config = ClipConfig(ratio=ratio, kl=kl, **{**FULL, "mismatch": None})
    denominators = Denominators.of(batch)

    def value(logprobs, entropy):
        output = PolicyOutput(logprobs=logprobs, entropy=entropy)
        return clip_loss(output, batch, credit, denominators, config).value

    assert torch.autograd.gradcheck(value, (output.logprobs, output.entropy))


@settings(deadline=None, max_examples=30)
@given(
    shape=SHAPES,
    seed=st.integers(0, 10_000),
    aggregation=st.sampled_from(AGGREGATIONS),
    ratio=st.sampled_from(["token", "turn", "sequence"]),
    data=st.data(),
)
def test_micro_batches_add_up_to_the_whole(shape, seed, aggregation, ratio, data):
    batch, credit, output = drawn(shape, seed)
    config = ClipConfig(ratio=ratio, aggregation=aggregation, **FULL)
    denominators = Denominators.of(batch)
    whole = clip_loss(output, batch, credit, denominators, config)
    cut = data.draw(st.integers(0, len(shape)))
    pieces = [(0, cut), (cut, len(shape))]
    total = torch.zeros((), dtype=torch.float64)
    for start, stop in pieces:
        if start == stop:
            continue
        part, tokens, turns = part_of(batch, start, stop)
        part_credit = Credit(
            turn=credit.turn[turns],
            clip_scale=credit.clip_scale[turns],
            weight=credit.weight[tokens],
        )
        part_output = PolicyOutput(logprobs=output.logprobs[tokens], entropy=output.entropy[tokens])
        total = total + clip_loss(part_output, part, part_credit, denominators, config).value
    assert_close(total, whole.value, atol=1e-6, rtol=1e-6)
    for got, expected in zip(gradients(total, output), gradients(whole.value, output), strict=True):
        assert_close(got, expected, atol=1e-6, rtol=1e-6)


@settings(deadline=None, max_examples=30)
@given(
    shape=SHAPES,
    seed=st.integers(0, 10_000),
    aggregation=st.sampled_from(AGGREGATIONS),
    ratio=st.sampled_from(["token", "turn", "sequence"]),
)
def test_what_is_not_trained_cannot_be_seen(shape, seed, aggregation, ratio):
    batch, credit, output = drawn(shape, seed)
    config = ClipConfig(ratio=ratio, aggregation=aggregation, **FULL)
    clean = clip_loss(output, batch, credit, Denominators.of(batch), config)
    trained = batch.loss_mask & batch.turn_mask
    tokens = (batch.turn_of_token >= 0) & torch.cat([trained, torch.zeros(1, dtype=torch.bool)])[
        batch.turn_of_token
    ]
    nan = torch.tensor(float("nan"), dtype=torch.float64)
    poisoned = PolicyOutput(
        logprobs=torch.where(tokens, output.logprobs.detach(), nan).requires_grad_(),
        entropy=torch.where(tokens, output.entropy.detach(), nan).requires_grad_(),
    )
    bad = replace(
        batch,
        sampled_logprobs=torch.where(tokens, batch.sampled_logprobs, nan),
        old_logprobs=torch.where(tokens, batch.old_logprobs, nan),
    ).with_columns(
        token={REFERENCE_COLUMN: torch.where(tokens, batch.token_columns[REFERENCE_COLUMN], nan)}
    )
    bad_credit = replace(
        credit,
        turn=torch.where(trained, credit.turn, nan),
        weight=torch.where(tokens, credit.weight, nan),
    )
    denominators = Denominators.of(bad)
    assert denominators == Denominators.of(batch)
    result = clip_loss(poisoned, bad, bad_credit, denominators, config)
    assert_close(result.value, clean.value)
    for got, expected in zip(
        gradients(result.value, poisoned), gradients(clean.value, output), strict=True
    ):
        assert_close(got, expected)
        assert (got[~tokens] == 0).all()


@settings(deadline=None, max_examples=20)
@given(shape=SHAPES, seed=st.integers(0, 10_000), aggregation=st.sampled_from(AGGREGATIONS))
def test_tokens_that_are_not_ours_change_nothing(shape, seed, aggregation):
    config = ClipConfig(ratio="turn", aggregation=aggregation, kl_coef=0.3, fixed_length=7)
    values = []
    for gap in (0, 3):
        batch = batch_of(shape, gap=gap)
        ours = batch.turn_of_token >= 0
        generator = torch.Generator().manual_seed(seed)
        column = torch.full((batch.num_tokens,), 5.0, dtype=torch.float64)
        draw = torch.randn(int(ours.sum()), generator=generator, dtype=torch.float64)
        logprobs = column.masked_scatter(ours, 0.1 * draw)
        batch = batch.with_columns(token={REFERENCE_COLUMN: column.masked_scatter(ours, draw)})
        credit = Credit(turn=torch.randn(batch.num_turns, generator=generator, dtype=torch.float64))
        output = PolicyOutput(logprobs=logprobs)
        values.append(clip_loss(output, batch, credit, Denominators.of(batch), config).value)
    assert_close(values[0], values[1])


def test_reordering_trajectories_changes_nothing():
    shape = [[3, 1], [2], [1, 1, 4]]
    batch, credit, output = drawn(shape, seed=5)
    order = [2, 0, 1]
    spans = [slice(int(batch.cu_tokens[b]), int(batch.cu_tokens[b + 1])) for b in order]
    turns = torch.cat(
        [torch.arange(int(batch.cu_turns[b]), int(batch.cu_turns[b + 1])) for b in order]
    )
    tokens = torch.cat([torch.arange(span.start, span.stop) for span in spans])
    moved = replace(
        batch_of([shape[b] for b in order]),
        sampled_logprobs=batch.sampled_logprobs[tokens],
        old_logprobs=batch.old_logprobs[tokens],
        loss_mask=batch.loss_mask[turns],
        traj_mask=batch.traj_mask[order],
        token_columns={REFERENCE_COLUMN: batch.token_columns[REFERENCE_COLUMN][tokens]},
    )
    moved_credit = Credit(
        turn=credit.turn[turns], clip_scale=credit.clip_scale[turns], weight=credit.weight[tokens]
    )
    moved_output = PolicyOutput(logprobs=output.logprobs[tokens], entropy=output.entropy[tokens])
    config = ClipConfig(ratio="sequence", aggregation="seq-mean-token-mean", **FULL)
    first = clip_loss(output, batch, credit, Denominators.of(batch), config)
    second = clip_loss(moved_output, moved, moved_credit, Denominators.of(moved), config)
    assert_close(first.value, second.value, atol=1e-6, rtol=1e-6)
    for name, value in first.metrics.items():
        assert second.metrics[name] == pytest.approx(value, abs=1e-6)
