"""Log-probability and entropy of tokens straight from hidden states, without all logits."""

from turngym.trainers.kernels.linear_logprob.chunked import (
    CHUNK,
    Objective,
    even_spans,
    linear_logprob,
    linear_objective,
)

__all__ = ["CHUNK", "Objective", "even_spans", "linear_logprob", "linear_objective"]
