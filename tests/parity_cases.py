"""Run by test_kernels_parity.py in its own process: kernels against definitions."""

import os
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from guarded import guarded_allocations
from test_loss_properties import FULL, drawn
from turngym.trainers.kernels.linear_logprob import reference as linear_definition
from turngym.trainers.kernels.linear_logprob import triton as linear_kernel
from turngym.trainers.kernels.turn_policy_loss import reference as loss_definition
from turngym.trainers.kernels.turn_policy_loss import triton as loss_kernel
from turngym.trainers.losses import ClipConfig, Denominators
from turngym.trainers.losses.clip import policy_terms
from turngym.trainers.types import PolicyOutput

DEVICE = os.environ["TURNGYM_PARITY_DEVICE"]
ON_GPU = DEVICE == "cuda"

# bfloat16 is silently wrong in Triton's interpreter, so it is compared on a GPU only.
DTYPES = [torch.float32, torch.float16] + ([torch.bfloat16] if ON_GPU else [])
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}

SHAPES = {
    "ragged": [[3, 1], [], [2, 40, 1]],
    "one token": [[1]],
    "a turn that fills a block": [[16], [17, 15]],
    "empty": [[]],
}


def moved(batch, credit, output):
    """Everything in float32 on the device under test."""

    def place(value):
        value = value.to(DEVICE)
        return value.float() if value.dtype == torch.float64 else value

    batch = batch.to(DEVICE)
    batch = replace(
        batch,
        sampled_logprobs=batch.sampled_logprobs.float(),
        old_logprobs=batch.old_logprobs.float(),
        token_columns={name: place(column) for name, column in batch.token_columns.items()},
    )
    credit = replace(
        credit,
        turn=place(credit.turn),
        clip_scale=place(credit.clip_scale),
        weight=place(credit.weight),
    )
    leaves = [place(leaf.detach()).requires_grad_() for leaf in (output.logprobs, output.entropy)]
    return batch, credit, PolicyOutput(logprobs=leaves[0], entropy=leaves[1])


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("ratio", ["token", "turn", "sequence"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {**FULL, "kl": "k1"},
        {**FULL, "kl": "k2", "dual_clip": None},
        {**FULL, "kl": "k3"},
        {**FULL, "kl": "k3", "kl_gradient": "k2", "entropy_coef": 0.0},
    ],
    ids=["plain", "k1", "k2", "k3", "straight-through"],
)
def test_policy_loss(shape, ratio, settings, monkeypatch):
    token_level = settings.get("kl") in ("k2", "k3")
    monkeypatch.setattr(loss_kernel, "BLOCK", 16)
    batch, credit, output = moved(*drawn(shape, seed=3))
    if token_level:
        credit = replace(credit, token=torch.linspace(-1, 1, batch.num_tokens, device=DEVICE))
    else:
        credit = replace(credit, weight=None, clip_scale=None)
    config = ClipConfig(ratio=ratio, **settings)
    terms = policy_terms(batch, credit, Denominators.of(batch), config)
    entropy = output.entropy if config.entropy_coef else None
    leaves = [output.logprobs] + ([] if entropy is None else [entropy])
    expected = loss_definition.turn_policy_loss(output.logprobs, entropy, *terms)
    with guarded_allocations(monkeypatch):
        got = loss_kernel.turn_policy_loss(output.logprobs, entropy, *terms)
        gradients = torch.autograd.grad(2 * got.value, leaves)
    for left, right in zip(gradients, torch.autograd.grad(2 * expected.value, leaves), strict=True):
        assert_close(left, right, atol=1e-6, rtol=1e-5)
    for name in ("value", "tokens", "log_ratio", "kl_old", "kl_reference", "clipped"):
        left, right = getattr(got, name), getattr(expected, name)
        assert (left is None) == (right is None), name
        if left is not None:
            assert_close(left.detach(), right.detach(), atol=1e-6, rtol=1e-5, msg=name)


def test_policy_loss_beyond_the_log_ratio_limit():
    batch, credit, output = moved(*drawn([[4]], seed=1))
    batch = replace(
        batch, loss_mask=~batch.loss_mask | batch.loss_mask, traj_mask=~(batch.traj_mask & False)
    )
    far = batch.old_logprobs + torch.tensor([0.0, 30.0, -30.0, 1.0, 0.0], device=DEVICE)
    far.requires_grad_()
    terms = policy_terms(
        batch, credit, Denominators.of(batch), ClipConfig(high=1e9, kl_coef=0.1, kl="k2")
    )
    for implementation in (loss_definition, loss_kernel):
        result = implementation.turn_policy_loss(far, None, *terms)
        (slope,) = torch.autograd.grad(result.value, far)
        assert slope[1] == slope[2] == 0
        assert slope[3] != 0
        assert result.value.isfinite()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("vocab", [1, 127, 128, 301])
def test_softmax_statistics(dtype, vocab, monkeypatch):
    monkeypatch.setattr(linear_kernel, "BLOCK", 128)
    logits = (3 * torch.randn(5, vocab, device=DEVICE)).to(dtype)
    targets = torch.randint(vocab, (5,), device=DEVICE)
    with guarded_allocations(monkeypatch):
        got = linear_kernel.softmax_statistics(logits, targets, True)
    expected = linear_definition.softmax_statistics(logits.float(), targets, True)
    for left, right in zip(got, expected, strict=True):
        assert_close(left, right, atol=1e-5, rtol=1e-5)


def test_softmax_statistics_take_rows_apart_and_large_logits(monkeypatch):
    monkeypatch.setattr(linear_kernel, "BLOCK", 16)
    logits = torch.randn(4, 40, device=DEVICE)[:, :33]  # a stride that is not the vocabulary
    logits[1] += 1e4
    logits[2, 7] = float("-inf")
    logits[3, 20:] = float("-inf")
    targets = torch.tensor([0, 32, 3, 4], device=DEVICE)
    got = linear_kernel.softmax_statistics(logits, targets, True)
    everything = logits.double().log_softmax(-1)
    entropy = -(everything.exp() * everything.clamp_min(-1e9)).sum(-1)
    assert_close(got[1], everything.gather(1, targets[:, None])[:, 0].float(), atol=2e-3, rtol=1e-5)
    assert_close(got[2], entropy.float(), atol=2e-3, rtol=1e-5)


@pytest.mark.parametrize("out", DTYPES, ids=str)
@pytest.mark.parametrize("vocab", [1, 128, 301])
@pytest.mark.parametrize("with_entropy", [False, True])
def test_logit_gradients(out, vocab, with_entropy, monkeypatch):
    monkeypatch.setattr(linear_kernel, "BLOCK", 128)
    logits = 3 * torch.randn(5, vocab, device=DEVICE)
    targets = torch.randint(vocab, (5,), device=DEVICE)
    total, _, entropy = linear_definition.softmax_statistics(logits, targets, True)
    d_logprobs, d_entropy = torch.randn(2, 5, device=DEVICE)
    last = d_entropy if with_entropy else None
    arguments = (targets, total, entropy, d_logprobs, last)
    expected = linear_definition.logit_gradients(logits.clone(), *arguments, torch.float32)
    with guarded_allocations(monkeypatch):
        mine = torch.empty_like(logits).copy_(logits)  # float32 gradients land in the logits
        got = linear_kernel.logit_gradients(mine, *arguments, out)
    assert got.dtype == out
    assert_close(got.float(), expected, atol=TOLERANCE[out], rtol=TOLERANCE[out])
