"""The last step of a causal language model, for whoever has hidden states and wants logits."""

from __future__ import annotations

from typing import Any

from torch import Tensor, tanh

__all__ = ["head_logits"]


def head_logits(model: Any, hidden: Tensor) -> Tensor:
    """[..., V] what the model's own forward would give for `hidden` [..., H], its logit scaling and
    soft-capping included."""
    logits: Tensor = model.get_output_embeddings()(hidden)
    scale = getattr(model.config, "logit_scale", None)
    if scale is not None:
        logits = logits * scale
    cap = getattr(model.config, "final_logit_softcapping", None)
    return logits if cap is None else tanh(logits / cap) * cap
