"""How likely a Hugging Face model finds a message: the score behind rewards of follow-ups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from turngym.agents.render import Renderer
from turngym.types import Message

__all__ = ["Likelihood"]


class Likelihood:
    """Callable: log-probability per token of the words of a message after a conversation.

    Args:
        model: a transformers causal language model.
        tokenizer: its own, with a chat template.

    Example:
        score = Likelihood(model, tokenizer)
        reward = follow_up_likelihood(score)     # turngym.rewards.emotion_followup
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self._renderer = model, Renderer(tokenizer)

    def __call__(self, conversation: Sequence[Message], message: Message) -> float:
        """Mean over the tokens of `message.content`, in nats, at temperature 1.

        Raises:
            ConfigError: the message has no words, or the template does not show them.
        """
        import torch

        before, words = self._renderer.before(conversation, message)
        ids = torch.tensor([[*before, *words]], device=self.model.device)
        with torch.no_grad():
            logits = self.model(ids, use_cache=False).logits[0, len(before) - 1 : -1].float()
        own = logits.log_softmax(-1).gather(1, ids[0, len(before) :].unsqueeze(1))
        return float(own.mean())
