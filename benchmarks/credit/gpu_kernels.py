"""Kernels that memory bounds, each beside what copying the bytes that must move would take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from gpu_device import COPY_TARGET, Device, Limits, Sizes
from torch import Tensor

from turngym.trainers.kernels.discounted_return import discounted_return
from turngym.trainers.kernels.gae import gae
from turngym.trainers.kernels.linear_logprob.rows import logit_gradients, softmax_statistics
from turngym.trainers.kernels.segment_norm import NormRule, segment_norm
from turngym.trainers.kernels.segment_sum import segment_mean
from turngym.trainers.kernels.spread import spread
from turngym.trainers.kernels.turn_policy_loss import (
    LossRule,
    TokenTerms,
    TurnTerms,
    turn_policy_loss,
)

Outputs = Sequence[Tensor]
TURN = 128
"""Sampled tokens of a turn; as many observation tokens lie before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kernel on one input."""

    name: str
    run: Callable[[], Outputs]
    bytes_moved: int
    """That any implementation must read or write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelRow:
    """One kernel, measured."""

    kernel: str
    ms: float
    gb_per_s: float
    share_of_copy: float
    largest_difference: float
    """From the CPU, on a small input."""

    @property
    def verdict(self) -> str:
        """met or MISSED."""
        return "met" if self.share_of_copy >= COPY_TARGET else "MISSED"


def kernel_rows(device: Device, sizes: Sizes, limits: Limits) -> list[KernelRow]:
    """All kernels, after each agreed with the CPU on a small input.

    Raises:
        AssertionError: a kernel gives something else on the device.
    """
    small = {case.name: case.run() for case in cases("cpu", 2048, 3, 301)}
    differences = {
        case.name: max(map(_difference, case.run(), small[case.name]))
        for case in cases(device.kind, 2048, 3, 301)
    }
    rows = []
    for case in cases(device.kind, sizes.tokens, sizes.rows, sizes.vocab):
        assert differences[case.name] <= 1e-4, f"{case.name} is off by {differences[case.name]}"
        taken = device.ms(case.run)
        rate = case.bytes_moved / taken / 1e6
        row = KernelRow(
            kernel=case.name,
            ms=taken,
            gb_per_s=rate,
            share_of_copy=rate / limits.copy_gb_per_s,
            largest_difference=differences[case.name],
        )
        print(f"{row.kernel:40} {taken:9.3f} ms {row.share_of_copy:6.0%} of copy {row.verdict}",
              flush=True)  # fmt: skip
        rows.append(row)
    return rows


def as_content(rows: list[KernelRow]) -> list[dict[str, Any]]:
    """For the file."""
    return [{**asdict(row), "verdict": row.verdict} for row in rows]


def cases(kind: str, tokens: int, rows: int, vocab: int) -> list[Case]:
    """The kernels on `kind` with the same random numbers everywhere.

    Bytes of token kernels: 8 for the turn of a token, 4 for each column in or out, 1 for a mask.
    """
    draw = torch.Generator().manual_seed(0)
    place = torch.arange(tokens)
    turns = -(-tokens // (2 * TURN))
    turn = torch.where(place // TURN % 2 == 1, place // (2 * TURN), -1)
    column = torch.randn(tokens, generator=draw).to(kind)
    other = torch.randn(tokens, generator=draw).to(kind)
    per_turn = torch.randn(turns, generator=draw).to(kind)
    row = (place // (16 * TURN)).to(kind)
    turn = turn.to(kind)

    def advantages() -> Outputs:
        made = gae(column, other, row, 0.99, 0.95)
        return made.advantage, made.returns

    def normed() -> Outputs:
        return (segment_norm(column, row, int(tokens // (16 * TURN)) + 1, NormRule()).values,)

    return [
        Case(name="spread", run=lambda: (spread(per_turn, turn),), bytes_moved=12 * tokens),
        Case(
            name="segment_mean of tokens",
            run=lambda: (segment_mean(column, turn, turns),),
            bytes_moved=12 * tokens,
        ),
        Case(name="segment_norm of tokens", run=normed, bytes_moved=16 * tokens),
        Case(
            name="discounted_return over tokens",
            run=lambda: (discounted_return(column, row, 0.99),),
            bytes_moved=16 * tokens,
        ),
        Case(name="gae over tokens", run=advantages, bytes_moved=24 * tokens),
        *_loss_cases(column, turn, per_turn),
        *_logit_cases(kind, rows, vocab, draw),
    ]


def _loss_cases(column: Tensor, turn: Tensor, per_turn: Tensor) -> list[Case]:
    """The policy loss, forward and gradient, of each ratio."""
    mask = turn >= 0
    old = torch.where(mask, column * 0.01 - 1, 0)
    logprobs = torch.where(mask, old + 0.01 * column.flip(0), 0).requires_grad_()
    bound = torch.full_like(per_turn, 0.2)
    tokens = TokenTerms(old=old, turn=turn, mask=mask, advantage=None, weight=None, reference=None)
    turns = TurnTerms(
        advantage=per_turn,
        low=bound,
        high=bound,
        scale=torch.full_like(per_turn, 1 / max(turn.shape[0], 1)),
        sequence=torch.arange(per_turn.shape[0], device=turn.device) // 8,
        num_sequences=-(-per_turn.shape[0] // 8),
    )

    def run(ratio: Any) -> Callable[[], Outputs]:
        rule = LossRule(
            ratio=ratio, dual_clip=None, kl="k3", kl_gradient="own", kl_coef=0.0, entropy_coef=0.0
        )

        def both() -> Outputs:
            value = turn_policy_loss(logprobs, None, tokens, turns, rule).value
            return value.detach(), *torch.autograd.grad(value, logprobs)

        return both

    # In: log-probabilities, old ones, turn, mask; out: the gradient, and again scaled by the loss's.
    return [
        Case(
            name=f"policy loss with gradient, {ratio} ratio",
            run=run(ratio),
            bytes_moved=(4 + 4 + 8 + 1 + 4 + 8) * turn.shape[0],
        )
        for ratio in ("token", "turn", "sequence")
    ]


def _logit_cases(kind: str, rows: int, vocab: int, draw: torch.Generator) -> list[Case]:
    """The two kernels of the head; gradients overwrite the logits, so they get a copy."""
    logits = torch.randn(rows, vocab, generator=draw).to(kind)
    targets = torch.randint(vocab, (rows,), generator=draw).to(kind)
    ones = torch.ones(rows, device=kind)
    total, _, entropy = softmax_statistics(logits, targets, True)
    scratch = torch.empty_like(logits)

    def statistics() -> Outputs:
        log_total, logprobs, spread_out = softmax_statistics(logits, targets, True)
        assert spread_out is not None
        return log_total, logprobs, spread_out

    def gradients() -> Outputs:
        scratch.copy_(logits)
        arguments = (targets, total, entropy, ones, ones, torch.float32)
        return (logit_gradients(scratch, *arguments),)

    size = logits.numel()
    return [
        Case(name="softmax statistics", run=statistics, bytes_moved=4 * size),
        Case(name="logit gradients, with a copy", run=gradients, bytes_moved=16 * size),
    ]


def _difference(got: Tensor, expected: Tensor) -> float:
    scale = max(float(expected.abs().max()), 1.0)
    return float((got.cpu() - expected).abs().max()) / scale
