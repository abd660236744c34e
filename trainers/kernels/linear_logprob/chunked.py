"""Log-probabilities from hidden states without ever holding all logits, and gradients with them.

Two forms. `linear_logprob` is an ordinary differentiable operation: forward one matrix product,
backward three, because the logits are made again. `linear_objective` is for an objective that is
known before the policy speaks: it makes the gradients while the logits of a chunk are at hand,
three products in all. Memory grows with C x V, never with M x V.

Legend: T positions, M scored tokens, C tokens of one chunk, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from turngym.trainers.kernels.linear_logprob.rows import logit_gradients, softmax_statistics

__all__ = ["CHUNK", "Objective", "even_spans", "linear_logprob", "linear_objective"]

CHUNK = 1024
"""Tokens whose logits are held at a time."""

Span = tuple[int, int]
Objective = Callable[[Tensor, Tensor | None, int, int], Tensor]
"""(log-probabilities, entropies or None, start, stop) of tokens start..stop-1 -> a scalar."""


def linear_logprob(
    hidden: Tensor,
    head: Tensor,
    rows: Tensor,
    targets: Tensor,
    temperature: Tensor | None = None,
    *,
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:
    """[M] log-probabilities and [M] entropies, as `reference.linear_logprob` defines them.

    Statistics are float32 (float64 for float64 inputs), and so is the sum that becomes the
    gradient of the head.

    Args:
        hidden: [T, H].
        head: [V, H].
        rows: [M] int64 positions whose next token is scored; no other position is touched.
        targets: [M] int64.
        temperature: [M] > 0, or None for 1; no gradient.
        chunk: tokens whose logits are held at a time.
    """
    spans = even_spans(rows.shape[0], chunk)
    apply: Any = _TwoPass.apply
    logprobs, entropy = apply(hidden, head, rows, targets, temperature, spans)
    return logprobs, entropy


def linear_objective(
    hidden: Tensor,
    head: Tensor,
    rows: Tensor,
    targets: Tensor,
    temperature: Tensor | None,
    objective: Objective,
    spans: Sequence[Span],
    with_entropy: bool,
) -> Tensor:
    """The scalar sum over `spans` of `objective`, with gradients made on the way.

    Each span is one chunk; `objective` sees nothing beyond it and must not depend on what other
    spans give. Backward only scales what forward stored.

    Args:
        hidden, head, rows, targets, temperature: as for `linear_logprob`.
        objective: differentiable in its first two arguments.
        spans: cover 0..M without overlap.
        with_entropy: whether `objective` gets entropies, or None.
    """
    apply: Any = _OnePass.apply
    value: Tensor = apply(hidden, head, rows, targets, temperature, objective, spans, with_entropy)
    return value


def even_spans(count: int, size: int) -> list[Span]:
    """0..count in pieces of `size`."""
    return [(start, min(start + size, count)) for start in range(0, count, size)]


class _TwoPass(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head: Tensor,
        rows: Tensor,
        targets: Tensor,
        temperature: Tensor | None,
        spans: Sequence[Span],
    ) -> tuple[Tensor, Tensor]:
        dtype = _statistics_dtype(hidden)
        total, logprobs, entropy = hidden.new_empty((3, rows.shape[0]), dtype=dtype)
        for start, stop in spans:
            logits = _logits(hidden[rows[start:stop]], head, _cut(temperature, start, stop))
            statistics = softmax_statistics(logits, targets[start:stop], True)
            for column, part in zip((total, logprobs, entropy), statistics, strict=True):
                assert part is not None
                column[start:stop] = part
        ctx.save_for_backward(hidden, head, rows, targets, temperature, total, entropy)
        ctx.spans = spans
        ctx.set_materialize_grads(False)
        return logprobs, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        d_logprobs, d_entropy = gradients
        hidden, head, rows, targets, temperature, total, entropy = ctx.saved_tensors
        if d_logprobs is None:
            d_logprobs = torch.zeros_like(total)
        sums = _GradientSums(hidden, head, ctx.needs_input_grad[:2])
        for start, stop in ctx.spans:
            chunk = hidden[rows[start:stop]]
            cooler = _cut(temperature, start, stop)
            logits = _logits(chunk, head, cooler)
            sums.add(
                logits,
                chunk,
                rows[start:stop],
                targets[start:stop],
                cooler,
                total[start:stop],
                entropy[start:stop],
                d_logprobs[start:stop],
                _cut(d_entropy, start, stop),
            )
        return (*sums.results(), None, None, None, None)


class _OnePass(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head: Tensor,
        rows: Tensor,
        targets: Tensor,
        temperature: Tensor | None,
        objective: Objective,
        spans: Sequence[Span],
        with_entropy: bool,
    ) -> Tensor:
        sums = _GradientSums(hidden, head, ctx.needs_input_grad[:2])
        value = hidden.new_zeros((), dtype=_statistics_dtype(hidden))
        for start, stop in spans:
            chunk = hidden[rows[start:stop]]
            cooler = _cut(temperature, start, stop)
            logits = _logits(chunk, head, cooler)
            total, logprobs, entropy = softmax_statistics(logits, targets[start:stop], with_entropy)
            with torch.enable_grad():
                logprobs.requires_grad_()
                if entropy is not None:
                    entropy.requires_grad_()
                part = objective(logprobs, entropy, start, stop)
                d_logprobs, d_entropy = _gradients(part, logprobs, entropy)
            value += part.detach()
            if sums.wanted:
                sums.add(
                    logits,
                    chunk,
                    rows[start:stop],
                    targets[start:stop],
                    cooler,
                    total,
                    None if entropy is None else entropy.detach(),
                    d_logprobs,
                    d_entropy,
                )
        ctx.save_for_backward(*sums.buffers())
        ctx.dtypes = (hidden.dtype, head.dtype)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_value: Tensor) -> Any:
        scaled = [
            None if gradient is None else (gradient * d_value).to(dtype)
            for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return (*scaled, None, None, None, None, None, None)


class _GradientSums:
    """Gradients by hidden states and head, summed over chunks; the head's in full precision.

    float16 has too small a range for gradients of a loss that is yet to be scaled: those of the
    hidden states are then kept in float32 as well.
    """

    def __init__(self, hidden: Tensor, head: Tensor, wanted: Sequence[bool]) -> None:
        self._head = head
        self._hidden = hidden
        kept = torch.float32 if hidden.dtype == torch.float16 else hidden.dtype
        self._hidden_sum = torch.zeros_like(hidden, dtype=kept) if wanted[0] else None
        self._head_sum = (
            torch.zeros_like(head, dtype=_statistics_dtype(head)) if wanted[1] else None
        )
        self.wanted = wanted[0] or wanted[1]

    def add(
        self,
        logits: Tensor,
        chunk: Tensor,
        rows: Tensor,
        targets: Tensor,
        temperature: Tensor | None,
        total: Tensor,
        entropy: Tensor | None,
        d_logprobs: Tensor,
        d_entropy: Tensor | None,
    ) -> None:
        """One chunk, with the gradients by its log-probabilities; uses up `logits`."""
        if temperature is not None:  # on C numbers it costs nothing, on C x V logits a pass
            d_logprobs = d_logprobs / temperature
            d_entropy = None if d_entropy is None else d_entropy / temperature
        dtype = _product_dtype(chunk)
        d_logits = logit_gradients(logits, targets, total, entropy, d_logprobs, d_entropy, dtype)
        if self._hidden_sum is not None:
            d_hidden = d_logits @ self._head.to(d_logits.dtype)
            self._hidden_sum.index_add_(0, rows, d_hidden.to(self._hidden_sum.dtype))
        if self._head_sum is not None:
            _add_product(self._head_sum, d_logits.T, chunk)

    def buffers(self) -> tuple[Tensor | None, Tensor | None]:
        """What waits for the backward pass, which scales it.

        A finished sum needs the range of float32 at most, which bfloat16 has.
        """
        head = self._head_sum
        if head is not None and self._head.dtype == torch.bfloat16:
            head = head.to(torch.bfloat16)
        return self._hidden_sum, head

    def results(self) -> tuple[Tensor | None, Tensor | None]:
        hidden, head = self._hidden_sum, self._head_sum
        return (
            None if hidden is None else hidden.to(self._hidden.dtype),
            None if head is None else head.to(self._head.dtype),
        )


def _logits(chunk: Tensor, head: Tensor, temperature: Tensor | None) -> Tensor:
    """[C, V] in the precision of the statistics."""
    dtype = _statistics_dtype(chunk)
    if chunk.dtype == dtype:
        logits = chunk @ head.T
    elif chunk.is_cuda:
        logits = torch.mm(chunk, head.T, out_dtype=dtype)
    else:
        logits = chunk.to(dtype) @ head.to(dtype).T
    return logits if temperature is None else logits.div_(temperature[:, None])


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right, summed in the type of `total`."""
    if left.dtype == right.dtype == total.dtype:
        total.addmm_(left, right)
    elif left.is_cuda:
        torch.addmm(total, left, right, out_dtype=total.dtype, out=total)
    else:
        total.addmm_(left.to(total.dtype), right.to(total.dtype))


def _gradients(
    part: Tensor, logprobs: Tensor, entropy: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """What comes back from the objective of one chunk."""
    zeros = torch.zeros_like(logprobs)
    if not part.requires_grad:  # nothing in the span is trained
        return zeros, None
    leaves = [logprobs] if entropy is None else [logprobs, entropy]
    first, *others = torch.autograd.grad(part, leaves, allow_unused=True)
    return (zeros if first is None else first), (others[0] if others else None)


def _product_dtype(chunk: Tensor) -> torch.dtype:
    """Of logit gradients: matrix units want the inputs' type, a CPU is better off in float32."""
    return chunk.dtype if chunk.is_cuda else _statistics_dtype(chunk)


def _statistics_dtype(values: Tensor) -> torch.dtype:
    return torch.promote_types(values.dtype, torch.float32)


def _cut(column: Tensor | None, start: int, stop: int) -> Tensor | None:
    return None if column is None else column[start:stop]
