"""From turns to tokens on a GPU, in one launch; its gradient adds up without atomics.

Legend: N tokens, K turns.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from turngym.trainers.kernels.segment_sum import segment_sum

__all__ = ["BLOCK", "spread", "spread_kernel"]

BLOCK = 1024
"""Tokens of one program."""


@triton.jit
def spread_kernel(VALUES, TURN, OUT, num_tokens, BLOCK: tl.constexpr):
    """[N] the value of each token's turn."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < num_tokens
    turn = tl.load(TURN + place, mask=inside, other=-1)
    value = tl.load(VALUES + turn, mask=turn >= 0, other=0)
    tl.store(OUT + place, value, mask=inside)


def spread(values: Tensor, turn_of_token: Tensor) -> Tensor:
    """`reference.spread`."""
    apply: Any = _Spread.apply
    result: Tensor = apply(values, turn_of_token)
    return result


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, turn_of_token: Tensor) -> Tensor:
        num_tokens = turn_of_token.shape[0]
        out = values.new_empty(num_tokens)
        if num_tokens > 0:
            spread_kernel[(triton.cdiv(num_tokens, BLOCK),)](
                values.contiguous(), turn_of_token.contiguous(), out, num_tokens, BLOCK=BLOCK
            )
        ctx.save_for_backward(turn_of_token)
        ctx.num_turns = values.shape[0]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (turn_of_token,) = ctx.saved_tensors
        return segment_sum(gradients[0], turn_of_token, ctx.num_turns), None
