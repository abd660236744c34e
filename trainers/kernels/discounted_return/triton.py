"""Linear recurrences over ragged steps on a GPU.

The flat array is cut into blocks. Each block's composition is found on its own, one program runs
over the blocks, and every block is then finished with what flows into it: three launches, or one
when everything fits one block. Legend: n steps (turns or tokens).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from turngym.trainers.kernels.discounted_return.reference import Table, next_steps

__all__ = [
    "BLOCK",
    "block_ends_kernel",
    "chain_kernel",
    "compose",
    "discounted_return",
    "finish_kernel",
    "reverse_scan",
]

BLOCK = 1024
"""Steps of one program."""


@triton.jit
def compose(factor_behind, value_behind, factor, value):
    return factor_behind * factor, value + factor * value_behind


@triton.jit
def block_ends_kernel(FACTOR, VALUE, ENDS_FACTOR, ENDS_VALUE, n, BLOCK: tl.constexpr):
    """[blocks] the composition of each block's steps."""
    block = tl.program_id(0).to(tl.int64)
    place = block * BLOCK + tl.arange(0, BLOCK)
    factor = tl.load(FACTOR + place, mask=place < n, other=1.0)
    value = tl.load(VALUE + place, mask=place < n, other=0.0)
    factor, value = tl.associative_scan((factor, value), 0, compose, reverse=True)
    first = tl.arange(0, BLOCK) == 0
    tl.store(ENDS_FACTOR + block, tl.sum(tl.where(first, factor, 0.0)))
    tl.store(ENDS_VALUE + block, tl.sum(tl.where(first, value, 0.0)))


@triton.jit
def chain_kernel(FACTOR, VALUE, OUT, n, BLOCK: tl.constexpr):
    """[n] the recurrence by one program, block after block from the end."""
    carry = 0.0
    blocks = tl.cdiv(n, BLOCK)
    for back in range(0, blocks):
        start = (blocks - 1 - back) * BLOCK
        place = start + tl.arange(0, BLOCK)
        factor = tl.load(FACTOR + place, mask=place < n, other=1.0)
        value = tl.load(VALUE + place, mask=place < n, other=0.0)
        factor, value = tl.associative_scan((factor, value), 0, compose, reverse=True)
        result = value + factor * carry
        tl.store(OUT + place, result, mask=place < n)
        carry = tl.sum(tl.where(tl.arange(0, BLOCK) == 0, result, 0.0))


@triton.jit
def finish_kernel(FACTOR, VALUE, CARRIES, OUT, n, blocks, BLOCK: tl.constexpr):
    """[n] each block's recurrence, given what CARRIES says of the next block's first step."""
    block = tl.program_id(0).to(tl.int64)
    place = block * BLOCK + tl.arange(0, BLOCK)
    factor = tl.load(FACTOR + place, mask=place < n, other=1.0)
    value = tl.load(VALUE + place, mask=place < n, other=0.0)
    carry = tl.load(CARRIES + block + 1, mask=block + 1 < blocks, other=0.0)
    factor, value = tl.associative_scan((factor, value), 0, compose, reverse=True)
    tl.store(OUT + place, value + factor * carry, mask=place < n)


def reverse_scan(factor: Tensor, value: Tensor) -> Tensor:
    """`reference.reverse_scan` in float32."""
    n = value.shape[0]
    out = torch.empty_like(value)
    if n == 0:
        return out
    blocks = triton.cdiv(n, BLOCK)
    if blocks == 1:
        chain_kernel[(1,)](factor, value, out, n, BLOCK=BLOCK)
        return out
    end_factors, end_values = value.new_empty(blocks), value.new_empty(blocks)
    carries = value.new_empty(blocks)
    block_ends_kernel[(blocks,)](factor, value, end_factors, end_values, n, BLOCK=BLOCK)
    chain_kernel[(1,)](end_factors, end_values, carries, blocks, BLOCK=BLOCK)
    finish_kernel[(blocks,)](factor, value, carries, out, n, blocks, BLOCK=BLOCK)
    return out


def discounted_return(
    rewards: Tensor,
    row: Tensor,
    discount: float,
    *,
    mask: Tensor | None = None,
    time: Tensor | None = None,
    table: Table | None = None,
) -> Tensor:
    """`reference.discounted_return`; `table` changes nothing here."""
    steps = next_steps(row, mask, time)
    return steps.inside(reverse_scan(steps.factor(discount), steps.inside(rewards)))
