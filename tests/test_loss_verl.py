"""The policy loss equals verl's own, for every aggregation, with observation gaps in the rows."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from loss_batches import batch_of
from turngym.trainers.losses import ClipConfig, Denominators, clip_loss
from turngym.trainers.types import Credit, PolicyOutput

verl = pytest.importorskip("verl.trainer.ppo.core_algos", reason="needs the verl environment")
pytestmark = [
    pytest.mark.verl,
    pytest.mark.filterwarnings("default"),  # verl's own imports warn
]

SHAPE = [[3, 1], [2, 4, 1], [6]]
ADVANTAGES = (1.3, -0.7, 0.2, -2.0, 0.9, -1.1)


def padded(batch, columns):
    """[B, T] rows of the segments, zeros behind."""
    spans = list(zip(batch.cu_tokens[:-1].tolist(), batch.cu_tokens[1:].tolist(), strict=True))
    return [
        torch.nn.utils.rnn.pad_sequence([column[a:b] for a, b in spans], batch_first=True)
        for column in columns
    ]


@pytest.mark.parametrize(
    "aggregation",
    [
        "token-mean",
        "token-sum",
        "seq-mean-token-sum",
        "seq-mean-token-mean",
        "seq-mean-token-sum-norm",
    ],
)
@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_value_and_gradient(aggregation, ratio):
    from verl.workers.config import ActorConfig  # pyright: ignore

    generator = torch.Generator().manual_seed(0)
    batch = batch_of(SHAPE, gap=2)
    mask = batch.turn_of_token >= 0
    old = -torch.rand(batch.num_tokens, generator=generator)
    batch = replace(batch, sampled_logprobs=old)
    turn = torch.tensor(ADVANTAGES)
    logprobs = (old + 0.3 * torch.randn(batch.num_tokens, generator=generator)).requires_grad_()
    length = int(batch.cu_tokens.diff().max())
    settings: dict[str, Any] = dict(
        low=0.2, high=0.28, dual_clip=3.0 if ratio == "token" else None, fixed_length=length
    )
    config = ClipConfig(ratio=ratio, aggregation=aggregation, **settings)
    ours = clip_loss(
        PolicyOutput(logprobs=logprobs),
        batch,
        Credit(turn=turn),
        Denominators.of(batch),
        config,
    )
    (slope,) = torch.autograd.grad(ours.value, logprobs)

    twin = logprobs.detach().clone().requires_grad_()
    advantages = torch.where(mask, turn[batch.turn_of_token], torch.tensor(0.0))
    rows = padded(batch, [old, twin, advantages, mask.long()])
    actor = ActorConfig(
        strategy="fsdp",
        rollout_n=1,
        ppo_micro_batch_size_per_gpu=1,
        clip_ratio=0.2,
        clip_ratio_low=0.2,
        clip_ratio_high=0.28,
        clip_ratio_c=3.0,
    )
    peer = verl.compute_policy_loss_vanilla if ratio == "token" else verl.compute_policy_loss_gspo
    theirs, _ = peer(*rows, loss_agg_mode=aggregation, config=actor)
    (wanted,) = torch.autograd.grad(theirs, twin)
    assert_close(ours.value, theirs, atol=1e-6, rtol=1e-5)
    assert_close(slope, wanted, atol=1e-6, rtol=1e-5)
