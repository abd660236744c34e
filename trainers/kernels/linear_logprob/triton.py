"""Softmax statistics and logit gradients of one chunk on a GPU: one program per row.

The logits come from the vendor's matrix product in float32 and are read twice, once here for the
statistics and once for the gradients. Legend: C tokens of one chunk, V vocabulary.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = [
    "BLOCK",
    "WARPS",
    "gradient_kernel",
    "logit_gradients",
    "softmax_statistics",
    "statistics_kernel",
]

BLOCK = 4096
"""Logits that a program handles at a time."""
WARPS = 8


@triton.jit
def statistics_kernel(
    LOGITS, TARGETS, TOTAL, LOGPROBS, ENTROPY, stride, vocab, BLOCK: tl.constexpr
):
    """Online logsumexp and mean logit; a row's maximum and sums are kept per lane until the end."""
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK)
    largest = tl.full((BLOCK,), float("-inf"), tl.float32)
    mass = tl.zeros((BLOCK,), tl.float32)
    moment = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, vocab, BLOCK):
        column = start + lanes
        z = tl.load(LOGITS + row * stride + column, mask=column < vocab, other=float("-inf"))
        z = z.to(tl.float32)
        newest = tl.maximum(largest, z)
        # a lane that has seen nothing but -inf has no maximum to subtract
        anchor = tl.where(newest == float("-inf"), 0.0, newest)
        shrink = tl.exp(largest - anchor)
        grown = tl.exp(z - anchor)
        mass = mass * shrink + grown
        moment = moment * shrink + grown * tl.where(z == float("-inf"), 0.0, z)
        largest = newest
    top = tl.max(largest)
    shrink = tl.exp(largest - top)
    whole = tl.sum(mass * shrink)
    mean = tl.sum(moment * shrink) / whole
    total = top + tl.log(whole)
    target = tl.load(TARGETS + row)
    chosen = tl.load(LOGITS + row * stride + target).to(tl.float32)
    tl.store(TOTAL + row, total)
    tl.store(LOGPROBS + row, chosen - total)
    tl.store(ENTROPY + row, total - mean)


@triton.jit
def gradient_kernel(
    LOGITS,
    TARGETS,
    TOTAL,
    ENTROPY,
    D_LOGPROBS,
    D_ENTROPY,
    OUT,
    stride,
    out_stride,
    vocab,
    HAS_ENTROPY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A block of columns of one row."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < vocab
    z = tl.load(LOGITS + row * stride + column, mask=inside, other=float("-inf")).to(tl.float32)
    log_p = z - tl.load(TOTAL + row)
    p = tl.exp(log_p)
    d_logprob = tl.load(D_LOGPROBS + row)
    factor = tl.zeros((BLOCK,), tl.float32) - d_logprob
    if HAS_ENTROPY:
        centred = tl.where(p > 0, log_p + tl.load(ENTROPY + row), 0.0)
        factor -= tl.load(D_ENTROPY + row) * centred
    target = tl.load(TARGETS + row)
    gradient = p * factor + tl.where(column == target, d_logprob, 0.0)
    tl.store(OUT + row * out_stride + column, gradient.to(OUT.dtype.element_ty), mask=inside)


def softmax_statistics(
    logits: Tensor, targets: Tensor, with_entropy: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """`reference.softmax_statistics`; `logits` [C, V] have adjacent columns."""
    rows, vocab = logits.shape
    total, logprobs, entropy = logits.new_empty((3, rows), dtype=torch.float32)
    if rows > 0:
        statistics_kernel[(rows,)](
            logits,
            targets,
            total,
            logprobs,
            entropy,
            logits.stride(0),
            vocab,
            BLOCK=BLOCK,
            num_warps=WARPS,
        )
    return total, logprobs, entropy if with_entropy else None


def logit_gradients(
    logits: Tensor,
    targets: Tensor,
    total: Tensor,
    entropy: Tensor | None,
    d_logprobs: Tensor,
    d_entropy: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    """`reference.logit_gradients`; in place only where `dtype` is the type of `logits`."""
    rows, vocab = logits.shape
    out = logits if logits.dtype == dtype else torch.empty_like(logits, dtype=dtype)
    if rows > 0:
        gradient_kernel[(rows, triton.cdiv(vocab, BLOCK))](
            logits,
            targets,
            total,
            entropy,
            d_logprobs.contiguous(),
            None if d_entropy is None else d_entropy.contiguous(),
            out,
            logits.stride(0),
            out.stride(0),
            vocab,
            HAS_ENTROPY=entropy is not None and d_entropy is not None,
            BLOCK=BLOCK,
            num_warps=WARPS,
        )
    return out
