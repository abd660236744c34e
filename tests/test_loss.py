"""Policy loss: clip regions and goldens by hand, ratios, aggregation, masks, KL, metrics."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from loss_batches import batch_of
from turngym.errors import ConfigError, UsageError
from turngym.trainers.losses import (
    ClipConfig,
    Denominators,
    MismatchConfig,
    ValueConfig,
    clip_loss,
    loss_tokens,
    mismatch_weight,
    value_loss,
)
from turngym.trainers.losses.clip import REFERENCE_COLUMN
from turngym.trainers.losses.kl import k1, k2, k3
from turngym.trainers.losses.metrics import segment_quantiles
from turngym.trainers.types import Credit, PolicyOutput

SHARED = Path(
    os.environ.get("TURNGYM_SHARED", Path(__file__).resolve().parents[1].parent / "shared")
)


def loss_of(batch, log_ratios, advantages, *, clip_scale=None, entropy=None, **config: Any):
    """The loss with zero old log-probabilities and the gradient on the tokens that are ours."""
    ours = batch.turn_of_token >= 0
    logprobs = torch.zeros(batch.num_tokens, dtype=torch.float64)
    logprobs[ours] = torch.tensor(log_ratios, dtype=torch.float64)
    logprobs.requires_grad_()
    credit = Credit(
        turn=torch.tensor(advantages, dtype=torch.float64),
        clip_scale=None if clip_scale is None else torch.tensor(clip_scale, dtype=torch.float64),
    )
    output = PolicyOutput(logprobs=logprobs, entropy=entropy)
    loss = clip_loss(output, batch, credit, Denominators.of(batch), ClipConfig(**config))
    loss.value.backward()
    assert logprobs.grad is not None
    assert (logprobs.grad[~ours] == 0).all()
    return loss, logprobs.grad[ours]


# One token, clip range 0.2. Loss = max(-A r, -A clip(r, .8, 1.2)), at most -c A for A < 0;
# its gradient by log r is -A r where the first is taken, else 0.
@pytest.mark.parametrize(
    ("ratio", "advantage", "dual_clip", "loss", "gradient"),
    [
        (1.1, 2.0, None, -2.2, -2.2),  # inside
        (1.5, 2.0, None, -2.4, 0.0),  # above, gain capped at 1.2
        (0.5, 2.0, None, -1.0, -1.0),  # below with a positive advantage: not clipped
        (0.9, -1.0, None, 0.9, 0.9),
        (0.5, -1.0, None, 0.8, 0.0),  # below, loss floored at 0.8
        (1.5, -1.0, None, 1.5, 1.5),  # above with a negative advantage: not clipped
        (5.0, -1.0, None, 5.0, 5.0),
        (5.0, -1.0, 3.0, 3.0, 0.0),  # dual clip
        (2.0, -1.0, 3.0, 2.0, 2.0),  # dual clip out of reach
        (5.0, 1.0, 3.0, -1.2, 0.0),  # dual clip touches only negative advantages
        (1.3, 0.0, None, 0.0, 0.0),
    ],
)
def test_clip_regions(ratio, advantage, dual_clip, loss, gradient):
    log_ratio = torch.tensor(ratio, dtype=torch.float64).log().item()
    result, grad = loss_of(batch_of([[1]]), [log_ratio], [advantage], dual_clip=dual_clip)
    assert result.value.item() == pytest.approx(loss, abs=1e-6)
    assert grad.item() == pytest.approx(gradient, abs=1e-6)


def test_the_upper_bound_may_be_wider_and_clip_scale_moves_both():
    ratio = torch.tensor([1.25, 1.25, 0.7], dtype=torch.float64).log().tolist()
    batch = batch_of([[1, 1, 1]])
    # bounds 1 + .28 * (1, .5, 1) above and 1 - .2 * (1, .5, 2) below:
    # r = 1.25 free; 1.25 capped at 1.14; .7 with A < 0 and the bound .6 free
    loss, grad = loss_of(
        batch,
        ratio,
        [1.0, 1.0, -1.0],
        clip_scale=[1.0, 0.5, 2.0],
        high=0.28,
        aggregation="token-sum",
    )
    assert loss.value.item() == pytest.approx(-1.25 - 1.14 + 0.7, abs=1e-6)
    assert_close(grad, torch.tensor([-1.25, 0.0, 0.7], dtype=torch.float64), atol=1e-6, rtol=0)


A2TGPO: dict[str, Any] = dict(ratio="turn", low=3e-3, high=4e-3, aggregation="seq-mean-token-mean")


def test_the_a2tgpo_example_of_the_paper_formula():
    # s_1 = exp(.006) = 1.006018 > 1 + .004 * 1.163738 = 1.00465495: l = -.866025 * 1.00465495;
    # s_2 = exp(.001), s_3 = exp(.002) inside; each turn has 2 of the 6 tokens.
    log_ratios = [0.004, 0.008, -0.001, 0.003, 0.002, 0.002]
    advantages, scale = [0.866025404, -0.292893219, 0.707106781], [1.163738, 0.861365, 1.0]
    loss, grad = loss_of(batch_of([[2, 2, 2]]), log_ratios, advantages, clip_scale=scale, **A2TGPO)
    assert loss.value.item() == pytest.approx(-0.42846429, abs=1e-7)
    assert loss.metrics["clip_fraction"] == pytest.approx(1 / 3)
    expected = torch.tensor([0, 0, 0.29318626, 0.29318626, -0.70852241, -0.70852241]) / 6
    assert_close(grad, expected.double(), atol=1e-7, rtol=0)


@pytest.mark.skipif(not (SHARED / "fixtures").is_dir(), reason="no shared fixtures here")
def test_the_a2tgpo_fixture():
    fixture = json.loads((SHARED / "fixtures/worked_examples.json").read_text())["a2tgpo"]
    rows = fixture["loss_a"]
    loss, _ = loss_of(
        batch_of([[2, 2, 2]]),
        [value for row in rows["log_ratio"] for value in row],
        fixture["A_alpha1"]["a"],
        clip_scale=fixture["clip_scale"]["a"],
        **A2TGPO,
    )
    assert loss.value.item() == pytest.approx(rows["mean"], abs=1e-5)


def test_equal_advantages_do_not_merge_turns():
    # one ratio over both turns would be exp(0) = 1 and the loss 1
    loss, _ = loss_of(
        batch_of([[1, 1]]), [0.1, -0.1], [-1.0, -1.0], ratio="turn", low=0.5, high=0.5
    )
    expected = (torch.tensor(0.1).exp() + torch.tensor(-0.1).exp()) / 2
    assert loss.value.item() == pytest.approx(expected.item(), abs=1e-6)


def test_a_sequence_ratio_is_the_mean_over_the_whole_trajectory():
    # first trajectory: mean(.3, 0, 0) = .1 over turns of 1 and 2 tokens; the second stands alone.
    batch = batch_of([[1, 2], [1]])
    loss, grad = loss_of(
        batch, [0.3, 0.0, 0.0, -0.2], [1.0, 2.0, 1.0], ratio="sequence", low=0.5, high=0.5,
        aggregation="token-sum",
    )  # fmt: skip
    first, second = torch.tensor([0.1, -0.2], dtype=torch.float64).exp()
    assert loss.value.item() == pytest.approx((-first * 5 - second).item(), abs=1e-6)
    # GSPO-token: each token keeps its own turn's advantage
    assert_close(grad, torch.stack([-first, -2 * first, -2 * first, -second]), atol=1e-6, rtol=0)


# Trajectory of 1 token with loss -1, trajectory of 3 tokens with losses -2, -2, -2 (turn), ratio 1.
@pytest.mark.parametrize(
    ("aggregation", "value", "weights"),
    [
        ("token-mean", -7 / 4, (1 / 4, 1 / 4)),
        ("token-sum", -7.0, (1.0, 1.0)),
        ("seq-mean-token-sum", -7 / 2, (1 / 2, 1 / 2)),
        ("seq-mean-token-mean", -(1 + 2) / 2, (1 / 2, 1 / 6)),
        ("seq-mean-token-sum-norm", -7 / 2 / 10, (1 / 20, 1 / 20)),
    ],
)
def test_aggregation_by_hand(aggregation, value, weights):
    loss, grad = loss_of(
        batch_of([[1], [3]]), [0.0] * 4, [1.0, 2.0], aggregation=aggregation, fixed_length=10
    )
    assert loss.value.item() == pytest.approx(value, abs=1e-6)
    expected = torch.tensor([-weights[0], *[-2 * weights[1]] * 3], dtype=torch.float64)
    assert_close(grad, expected, atol=1e-6, rtol=0)
    assert loss.denominators == {"tokens": 4.0, "trajectories": 2.0, "dropped": 0.0}


def test_a_fixed_length_must_be_given():
    with pytest.raises(ConfigError, match="fixed_length"):
        loss_of(batch_of([[1]]), [0.0], [1.0], aggregation="seq-mean-token-sum-norm")


def test_masked_turns_and_trajectories_leave_value_and_denominators():
    batch = batch_of([[1, 2], [3], [1]])
    batch = replace(
        batch,
        loss_mask=torch.tensor([True, False, True, True]),
        traj_mask=torch.tensor([True, True, False]),
    )
    loss, grad = loss_of(batch, [0.0] * 7, [1.0, 9.0, 2.0, 9.0], aggregation="seq-mean-token-mean")
    assert loss.value.item() == pytest.approx(-(1 + 2) / 2)
    assert loss.denominators == {"tokens": 4.0, "trajectories": 2.0, "dropped": 0.0}
    expected = torch.tensor([-1 / 2, 0, 0, -1 / 3, -1 / 3, -1 / 3, 0], dtype=torch.float64)
    assert_close(grad, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
@pytest.mark.parametrize("column", ["sampled_logprobs", "old_logprobs"])
def test_tokens_without_finite_old_logprobs_are_dropped_and_counted(bad, column):
    batch = batch_of([[3]], gap=2)
    old = torch.zeros(5)
    old[3] = bad  # the second sampled token
    batch = replace(batch, old_logprobs=torch.zeros(5))
    batch = replace(batch, **{column: old})
    loss, grad = loss_of(batch, [0.0, 0.5, 0.0], [1.0], ratio="turn")
    assert loss.value.item() == pytest.approx(-1.0)  # the log-ratio .5 is not in the turn's mean
    assert loss.denominators["tokens"] == 2
    assert loss.metrics["dropped_tokens"] == 1
    assert_close(grad, torch.tensor([-0.5, 0.0, -0.5], dtype=torch.float64))


def test_a_batch_without_trained_tokens_gives_zero():
    batch = replace(batch_of([[2]]), traj_mask=torch.tensor([False]))
    loss, grad = loss_of(batch, [0.1, 0.2], [1.0])
    assert loss.value.item() == 0
    assert (grad == 0).all()


def test_an_empty_batch_gives_zero():
    batch = batch_of([])
    output = PolicyOutput(logprobs=torch.zeros(0, requires_grad=True))
    credit = Credit(turn=torch.zeros(0))
    assert clip_loss(output, batch, credit, Denominators.of(batch), ClipConfig()).value == 0


def test_token_advantages_and_weights_replace_and_scale():
    batch = batch_of([[2]])
    credit = Credit(
        turn=torch.tensor([100.0]),
        token=torch.tensor([0.0, 1.0, 2.0]),  # the first token is not ours
        weight=torch.tensor([7.0, 1.0, 0.5]),
    )
    output = PolicyOutput(logprobs=torch.zeros(3, requires_grad=True))
    loss = clip_loss(output, batch, credit, Denominators.of(batch), ClipConfig())
    assert loss.value.item() == pytest.approx(-(1 + 1) / 2)


# d = log p - log q = .5: k1 = .5, k2 = .125, k3 = exp(-.5) - 1 + .5
@pytest.mark.parametrize(
    ("name", "gradient", "value", "slope"),
    [
        ("k1", "own", 0.5, 1.0),
        ("k2", "own", 0.125, 0.5),
        ("k3", "own", 0.10653066, 1 - 0.60653066),
        ("k1", "k2", 0.5, 0.5),
        ("k3", "k2", 0.10653066, 0.5),
    ],
)
def test_kl_estimators_by_hand(name, gradient, value, slope):
    batch = batch_of([[1]], gap=0)
    reference = torch.tensor([-0.5], dtype=torch.float64)
    batch = batch.with_columns(token={REFERENCE_COLUMN: reference})
    loss, grad = loss_of(batch, [0.0], [0.0], kl_coef=2.0, kl=name, kl_gradient=gradient)
    assert loss.value.item() == pytest.approx(2 * value, abs=1e-6)
    assert grad.item() == pytest.approx(2 * slope, abs=1e-6)
    assert loss.metrics["kl_reference"] == pytest.approx(value, abs=1e-6)


def test_pure_kl_functions_agree_with_the_divergence():
    # p = (.7, .3), q = (.4, .6): KL(p, q) = .7 log(.7/.4) + .3 log(.3/.6) = .183790
    p, q = torch.tensor([0.7, 0.3]), torch.tensor([0.4, 0.6])
    for estimate in (k1, k3):
        assert (p * estimate(p.log(), q.log())).sum().item() == pytest.approx(0.183790, abs=1e-5)
    assert (p * k2(p.log(), q.log())).sum().item() == pytest.approx(
        0.7 * 0.559616**2 / 2 + 0.3 * 0.693147**2 / 2, abs=1e-5
    )


def test_the_k2_gradient_is_the_gradient_of_the_divergence():
    logits = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64, requires_grad=True)
    q = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    logp = logits.log_softmax(0)
    (truth,) = torch.autograd.grad((logp.exp() * (logp - q.log())).sum(), logits, retain_graph=True)
    mean = (logp.detach().exp() * k3(logp, q.log(), "k2")).sum()  # expectation over samples
    (estimate,) = torch.autograd.grad(mean, logits)
    assert_close(estimate, truth)


def test_kl_without_its_column_names_it():
    with pytest.raises(ConfigError, match=REFERENCE_COLUMN):
        loss_of(batch_of([[1]]), [0.0], [1.0], kl_coef=0.1)


def test_entropy_is_a_bonus_on_trained_tokens_only():
    entropy = torch.tensor([float("nan"), 2.0, 4.0], requires_grad=True)
    loss, _ = loss_of(batch_of([[2]]), [0.0, 0.0], [0.0], entropy=entropy, entropy_coef=0.1)
    assert loss.value.item() == pytest.approx(-0.1 * 3)
    assert_close(entropy.grad, torch.tensor([0.0, -0.05, -0.05]))
    with pytest.raises(UsageError, match="entropy"):
        loss_of(batch_of([[2]]), [0.0, 0.0], [0.0], entropy_coef=0.1)


# Two turns of 2 and 1 tokens with gaps log 2, log 1.5 | log .5: token weights 2, 1.5, .5;
# turn weights 3, 3, .5; sequence weight 1.5.
@pytest.mark.parametrize(
    ("level", "mode", "expected"),
    [
        ("token", "truncate", [1.8, 1.5, 0.5]),
        ("turn", "truncate", [1.8, 1.8, 0.5]),
        ("sequence", "truncate", [1.5, 1.5, 1.5]),
        ("token", "mask", [0.0, 1.5, 0.0]),
        ("turn", "mask", [0.0, 0.0, 0.0]),
        ("sequence", "mask", [1.5, 1.5, 1.5]),
    ],
)
def test_mismatch_weights_by_hand(level, mode, expected):
    batch = batch_of([[2, 1]], gap=1)
    sampled = torch.tensor([9.0, 1.0, 1.0, 9.0, 1.0])
    gaps = torch.tensor([0.0, 2.0, 1.5, 0.0, 0.5]).log().nan_to_num(neginf=0.0)
    batch = replace(batch, sampled_logprobs=sampled, old_logprobs=sampled + gaps)
    low = 0.6 if mode == "mask" else 0.0
    weight = mismatch_weight(batch, MismatchConfig(level=level, mode=mode, high=1.8, low=low))
    assert_close(weight[batch.turn_of_token >= 0], torch.tensor(expected), atol=1e-5, rtol=0)
    assert (weight[batch.turn_of_token < 0] == 1).all()


def test_mismatch_scales_the_surrogate_and_not_the_denominator():
    batch = batch_of([[2]], gap=0)
    batch = replace(
        batch,
        sampled_logprobs=torch.tensor([0.0, 0.0]),
        old_logprobs=torch.tensor([3.0, 0.5]).log(),
    )
    config = ClipConfig(mismatch=MismatchConfig(mode="mask"))
    output = PolicyOutput(logprobs=torch.tensor([3.0, 0.5]).log().requires_grad_())
    loss = clip_loss(
        output, batch, Credit(turn=torch.tensor([1.0])), Denominators.of(batch), config
    )
    assert loss.value.item() == pytest.approx(-(0 + 0.5) / 2, abs=1e-6)


def test_value_loss_by_hand():
    # V = (1, 3), R = (2, 1), V_old = (1, 2), clip .5: errors 1 and 4;
    # clipped V = (1, 2.5): 1 and 2.25, so the maximum is 1 and 4; .5 * .5 * (1 + 4) / 2
    batch = batch_of([[2]], gap=1).with_columns(token={"values": torch.tensor([0.0, 1.0, 2.0])})
    values = torch.tensor([float("nan"), 1.0, 3.0], requires_grad=True)
    credit = Credit(turn=torch.zeros(1), returns=torch.tensor([0.0, 2.0, 1.0]))
    output = PolicyOutput(logprobs=torch.zeros(3), values=values)
    loss = value_loss(output, batch, credit, Denominators.of(batch), ValueConfig())
    assert loss.value.item() == pytest.approx(0.625)
    loss.value.backward()
    assert_close(values.grad, torch.tensor([0.0, -0.25, 0.5]))
    # V moved towards the target beyond the bound: (V - R)^2 = .01 < (2.5 - 3.1)^2 = .36, no gradient
    credit = replace(credit, returns=torch.tensor([0.0, 1.0, 3.1]))
    loss = value_loss(output, batch, credit, Denominators.of(batch), ValueConfig())
    assert loss.value.item() == pytest.approx(0.5 * 0.5 * 0.36 / 2, abs=1e-6)
    assert loss.metrics["value_clip_fraction"] == pytest.approx(0.5)


def test_turn_returns_count_for_each_token_of_the_turn():
    batch = batch_of([[2, 1]], gap=0)
    output = PolicyOutput(logprobs=torch.zeros(3), values=torch.zeros(3))
    credit = Credit(turn=torch.zeros(2), returns=torch.tensor([2.0, 4.0]))
    loss = value_loss(output, batch, credit, Denominators.of(batch), ValueConfig(coef=1.0))
    assert loss.value.item() == pytest.approx((4 + 4 + 16) / 2 / 3)
    with pytest.raises(UsageError, match="returns"):
        value_loss(output, batch, Credit(turn=credit.turn), Denominators.of(batch), ValueConfig())


def test_quantiles_per_segment_by_hand():
    values = torch.tensor([5.0, 1.0, 9.0, 3.0, 2.0, 7.0])
    mask = torch.tensor([True, True, False, True, True, True])
    segment = torch.tensor([0, 0, 0, 0, 2, 2])
    got = segment_quantiles(values, mask, segment, 3)
    # sorted 1, 3, 5: ranks floor(.1), floor(1), floor(1.9); sorted 2, 7: ranks 0, 0, 0
    expected = torch.tensor([[1.0, 3.0, 3.0], [float("nan")] * 3, [2.0, 2.0, 2.0]])
    assert_close(got, expected, equal_nan=True)


def test_metrics_stand_per_turn_position():
    batch = batch_of([[1, 2], [1]])
    loss, _ = loss_of(batch, [0.0, 0.1, 0.3, -0.2], [1.0, 1.0, 1.0])
    ratio = torch.tensor([0.2, -0.2], dtype=torch.float64).exp()
    assert loss.metrics["turn1/ratio_p50"] == pytest.approx(ratio[0].item(), abs=1e-6)
    assert loss.metrics["turn0/ratio_p05"] == pytest.approx(ratio[1].item(), abs=1e-6)
    assert loss.metrics["clip_fraction"] == pytest.approx(1 / 4)  # exp(.3) > 1.2
    assert "turn2/ratio_p50" not in loss.metrics


def test_loss_tokens_names_the_tokens_that_are_trained():
    batch = replace(batch_of([[1], [2]]), loss_mask=torch.tensor([False, True]))
    assert loss_tokens(batch).tolist() == [False, False, False, True, True]
