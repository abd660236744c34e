"""One token per row from logits, with noise keyed by (seed, position) alone.

Legend: R rows, V words.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from turngym.types import Sampling

__all__ = ["sample", "uniform"]


def uniform(seeds: Sequence[int], position: int) -> Tensor:
    """[R] float64 in [0, 1): the same for the same seed and position in any batch.

    SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) of seed + (position + 1) * its golden gamma.
    """
    with np.errstate(over="ignore"):
        state = np.array(seeds, dtype=np.uint64)
        state += np.uint64(position + 1) * np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    return torch.from_numpy((state >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def sample(logits: Tensor, samplings: Sequence[Sampling], noise: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens [R] int64 and their log-probabilities [R] float32.

    The log-probability is that of the whole distribution at the sampling temperature, before top-k
    and top-p, so that a trainer computes the same number; a greedy row (temperature 0) is described
    at temperature 1.

    Args:
        logits: [R, V].
        samplings: one per row.
        noise: [R] from `uniform`; the token is where the cumulative probability passes it.
    """
    device = logits.device
    temperature = torch.tensor([s.temperature or 1.0 for s in samplings], device=device)
    logprobs = (logits.float() / temperature.unsqueeze(1)).log_softmax(-1)
    kept = logprobs
    if any(s.top_k or s.top_p < 1 for s in samplings):
        kept = torch.stack([_filtered(r, s) for r, s in zip(logprobs, samplings, strict=True)])
    total = kept.double().exp().cumsum(-1)
    threshold = noise.to(device).unsqueeze(1) * total[:, -1:]
    drawn = torch.searchsorted(total, threshold, right=True).squeeze(1)
    drawn = drawn.clamp_max(logits.shape[1] - 1)
    greedy = torch.tensor([s.temperature == 0 for s in samplings], device=device)
    tokens = torch.where(greedy, logits.argmax(-1), drawn)
    return tokens, logprobs.gather(1, tokens.unsqueeze(1)).squeeze(1)


def _filtered(logprobs: Tensor, sampling: Sampling) -> Tensor:
    """[V] log-probabilities with what top-k and top-p leave out set to -inf."""
    ordered, order = logprobs.sort(descending=True, stable=True)
    allowed = torch.ones_like(ordered, dtype=torch.bool)
    if sampling.top_k:
        allowed[sampling.top_k :] = False
    # The token that passes top_p is still in: what lies before it sums to less.
    probs = torch.where(allowed, ordered, -torch.inf).softmax(-1)
    allowed &= probs.cumsum(-1) - probs < sampling.top_p
    return torch.full_like(logprobs, -torch.inf).scatter(0, order[allowed], ordered[allowed])
