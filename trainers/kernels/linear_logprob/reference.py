"""Log-probability and entropy of tokens from hidden states and the language-model head.

The definition, with all logits in memory at once, and the two row operations that the chunked form
is built of. Legend: T positions, M scored tokens, C tokens of one chunk, H hidden size,
V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["linear_logprob", "logit_gradients", "softmax_statistics"]


def linear_logprob(
    hidden: Tensor, head: Tensor, rows: Tensor, targets: Tensor, temperature: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """[M] log-probabilities of `targets` and [M] entropies, with z = hidden[rows] head^T / temperature.

    log p = z_target - logsumexp(z), H = logsumexp(z) - sum softmax(z) z, in nats.

    Args:
        hidden: [T, H].
        head: [V, H] weight of the head.
        rows: [M] int64 positions whose next token is scored.
        targets: [M] int64 the tokens.
        temperature: [M] > 0, or None for 1.
    """
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    logits = hidden[rows].to(dtype) @ head.to(dtype).T
    if temperature is not None:
        logits = logits / temperature[:, None]
    everything = logits.log_softmax(-1)
    entropy = -(everything.exp() * everything).sum(-1)
    return everything.gather(1, targets[:, None])[:, 0], entropy


def softmax_statistics(
    logits: Tensor, targets: Tensor, with_entropy: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """[C] logsumexp, [C] log-probability of the target, [C] entropy of each row of [C, V].

    Without `with_entropy` the entropy is None, which spares a walk over the logits.
    """
    total = logits.logsumexp(-1)
    logprobs = logits.gather(1, targets[:, None])[:, 0] - total
    if not with_entropy:
        return total, logprobs, None
    mean = torch.linalg.vecdot((logits - total[:, None]).exp_(), logits)
    return total, logprobs, total - mean


def logit_gradients(
    logits: Tensor,
    targets: Tensor,
    total: Tensor,
    entropy: Tensor | None,
    d_logprobs: Tensor,
    d_entropy: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    """[C, V] gradient by the logits, in `dtype`; the memory of `logits` is used up.

    d log p_t / d z_j = 1[j = t] - p_j and dH / d z_j = -p_j (log p_j + H).

    Args:
        logits: [C, V], overwritten.
        targets: [C] int64.
        total: [C] logsumexp of the rows.
        entropy: [C] of the rows, needed with `d_entropy`.
        d_logprobs: [C] gradient that comes back to the log-probabilities.
        d_entropy: [C] the same for the entropies, or None for 0.
        dtype: of the result.
    """
    logits.sub_(total[:, None])
    if entropy is None or d_entropy is None:
        logits.exp_().mul_(-d_logprobs[:, None])
    else:
        factor = (logits + entropy[:, None]).mul_(-d_entropy[:, None]).sub_(d_logprobs[:, None])
        logits.exp_().mul_(factor)
    return logits.scatter_add_(1, targets[:, None], d_logprobs[:, None]).to(dtype)
