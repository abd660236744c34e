"""Credit kernels and the policy-loss head on a GPU, within ten minutes: python benchmarks/credit/gpu.py

Measures the device first (copy bandwidth, bf16 matrix rate), then sets each figure beside what the
device allows. verl's Triton head takes part where verl is installed. Writes results/credit_gpu.json.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from random_batches import random_batch
from report import Row, milliseconds, print_table, write_json
from torch import Tensor
from turn_level import turn_level

from turngym.trainers.kernels.linear_logprob import linear_logprob
from turngym.trainers.kernels.linear_logprob.reference import linear_logprob as all_at_once
from turngym.trainers.losses import (
    ClipConfig,
    Denominators,
    clip_loss,
    fused_policy_loss,
    plan_scoring,
)
from turngym.trainers.types import Credit, PolicyOutput, TurnBatch


def time_ms(function: Callable[[], Any], budget_s: float = 2.0) -> float:
    """Median milliseconds of a call, the device's work included."""
    return milliseconds(function, budget_s=budget_s, synchronize=torch.cuda.synchronize)


def device_limits() -> dict[str, float]:
    """Copy bandwidth in GB/s (read and write counted) and bf16 matrix rate in TFLOP/s."""
    source = torch.empty(2**28, dtype=torch.float32, device="cuda")
    target = torch.empty_like(source)
    copy = time_ms(lambda: target.copy_(source))
    left = torch.randn(8192, 8192, dtype=torch.bfloat16, device="cuda")
    product = time_ms(lambda: left @ left)
    return {
        "copy_gb_per_s": 2 * 4 * source.numel() / copy / 1e6,
        "bf16_tflop_per_s": 2 * 8192**3 / product / 1e9,
    }


def loss_kernel(limits: dict[str, float]) -> dict[str, float]:
    """The policy loss alone, forward and backward, against copy bandwidth."""
    batch = random_batch(4096, 1024).to("cuda")
    logprobs = torch.randn(batch.num_tokens, device="cuda").mul_(0.1).requires_grad_()
    credit = Credit(turn=torch.randn(batch.num_turns, device="cuda"))
    denominators = Denominators.of(batch)
    config = ClipConfig(ratio="turn")

    def both() -> None:
        output = PolicyOutput(logprobs=logprobs)
        torch.autograd.grad(clip_loss(output, batch, credit, denominators, config).value, logprobs)

    taken = time_ms(both)
    # log-probabilities twice (4 + 4), old (4 + 4), turn (8), mask (1), gradient out and scaled (12)
    bytes_moved = 37 * batch.num_tokens
    rate = bytes_moved / taken / 1e6
    share = rate / limits["copy_gb_per_s"]
    print(f"policy loss, {batch.num_tokens} tokens: {taken:.3f} ms, {share:.0%} of copy bandwidth")
    return {"ms": taken, "gb_per_s": rate, "share_of_copy": share}


def head_batch(num_tokens: int, vocab: int) -> TurnBatch:
    """One long row per trajectory, about `num_tokens` tokens, all turns trained."""
    batch = random_batch(max(num_tokens // 6144, 1), 8192)
    tokens = torch.randint(vocab, (batch.num_tokens,))
    old = torch.full((batch.num_tokens,), -12.0)
    return replace(batch, token_ids=tokens, sampled_logprobs=old).to("cuda")


def check_head(dtype: torch.dtype) -> float:
    """Largest difference of the chunked head from all logits at once, at a small size."""
    hidden = torch.randn(257, 256, device="cuda").to(dtype)
    head = torch.randn(1003, 256, device="cuda").mul(0.1).to(dtype)
    rows = torch.arange(257, device="cuda")
    targets = torch.randint(1003, (257,), device="cuda")
    got = linear_logprob(hidden, head, rows, targets, chunk=100)
    expected = all_at_once(hidden.double(), head.double(), rows, targets)
    return max(float((a.double() - b).abs().max()) for a, b in zip(got, expected, strict=True))


def head_rows(
    limits: dict[str, float], num_tokens: int, hidden_size: int, vocab: int
) -> tuple[list[Row], dict[str, Any]]:
    """One-pass and two-pass head, forward and backward, beside verl's."""
    for dtype, bound in ((torch.float32, 1e-3), (torch.bfloat16, 2e-2)):
        difference = check_head(dtype)
        assert difference <= bound, f"linear_logprob in {dtype} is off by {difference}"
    batch = head_batch(num_tokens, vocab)
    hidden = torch.randn(batch.num_tokens, hidden_size, device="cuda", dtype=torch.bfloat16)
    head = torch.randn(vocab, hidden_size, device="cuda").mul_(0.02).to(torch.bfloat16)
    hidden.requires_grad_()
    head.requires_grad_()
    credit = Credit(turn=torch.randn(batch.num_turns, device="cuda"))
    denominators = Denominators.of(batch)
    config = ClipConfig(ratio="turn")
    plan = plan_scoring(batch, "turn")
    scored = plan.tokens.shape[0]

    def run(one_pass: bool) -> None:
        form = replace(plan, one_pass=one_pass)
        loss = fused_policy_loss(hidden, head, batch, credit, denominators, config, form)
        torch.autograd.grad(loss.value, (hidden, head))

    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    once = time_ms(lambda: run(True), 10)
    peak = torch.cuda.max_memory_allocated() - before
    gradients = hidden.numel() * 2 + head.numel() * 2
    twice = time_ms(lambda: run(False), 10)
    flops = 6 * scored * hidden_size * vocab
    rate = flops / once / 1e9
    extra = {
        "tokens": batch.num_tokens,
        "scored": scored,
        "tflop_per_s": rate,
        "share_of_matrix_rate": rate / limits["bf16_tflop_per_s"],
        "extra_gib": (peak - gradients) / 2**30,
    }
    name = f"policy loss from hidden states, {scored} tokens"
    rows = [
        Row(case=name, peer="the same, logits made twice (8NHV)", ours_ms=once, peer_ms=twice,
            largest_difference=0.0, target=1.25),
    ]  # fmt: skip
    states = hidden.detach()[plan.tokens - 1].requires_grad_()
    beside = verl_row(name, once, states, head, batch.token_ids[plan.tokens])
    return rows + ([] if beside is None else [beside]), extra


def verl_row(name: str, once: float, states: Tensor, head: Tensor, targets: Tensor) -> Row | None:
    """verl's head at equal tokens: it gets the scored positions only."""
    peer = verl_head()
    if peer is None:
        return None

    def theirs() -> None:
        logprobs, _ = peer(states, head, targets, 1.0)
        torch.autograd.grad(logprobs.sum(), (states, head))

    with torch.no_grad():
        few = torch.arange(512, device="cuda")
        ours, _ = linear_logprob(states, head, few, targets[:512])
        logprobs, _ = peer(states[:512], head, targets[:512], 1.0)
    difference = float((ours - logprobs.float()).abs().max())
    assert difference <= 2e-2, f"verl's log-probabilities differ by {difference}"
    return Row(
        case=name,
        peer="verl linear_cross_entropy (Triton)",
        ours_ms=once,
        peer_ms=time_ms(theirs, 10),
        largest_difference=difference,
        target=1.5,
    )


def verl_head() -> Callable[..., tuple[Tensor, Tensor]] | None:
    """verl's Triton head, or None where verl is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from verl.utils.kernel.linear_cross_entropy import linear_cross_entropy
    except ImportError as error:
        print(f"verl is not installed here, its head is left out: {error}")
        return None
    return linear_cross_entropy


def main() -> None:
    """Run everything, print it, write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=152_000, help="all tokens; 43 %% are ours")
    parser.add_argument("--hidden", type=int, default=4096)
    parser.add_argument("--vocab", type=int, default=151_936)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device: the GPU figures stay open")
    limits = device_limits()
    print(torch.cuda.get_device_name(), limits)
    methods = turn_level(time_ms, limits["copy_gb_per_s"])
    loss = loss_kernel(limits)
    rows, head = head_rows(limits, arguments.tokens, arguments.hidden, arguments.vocab)
    print_table(rows)
    print(head, "targets: share_of_matrix_rate 0.85, extra_gib 1.5")
    extra = {"limits": limits, "turn_methods": methods, "policy_loss": loss, "head": head}
    print(write_json("credit_gpu", torch.cuda.get_device_name(), rows, extra))


if __name__ == "__main__":
    main()
