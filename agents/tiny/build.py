"""Train the tokenizer of the tiny policies.

Bytes cover any text; digits stand alone, so that a number is copied digit by digit. The tokenizer
is frozen: every packaged checkpoint depends on it (`turngym.trainers.tiny` makes both).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = ["build_tokenizer"]

VOCABULARY = 2048
SPECIAL = ("<|pad|>", "<|im_start|>", "<|im_end|>")
WORDS = (
    "system",
    "user",
    "assistant",
    "tool",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
)
"""Written by the chat template in every conversation: one token each."""


def build_tokenizer(texts: Iterable[str], target: Path) -> None:
    """Write `tokenizer.json`, trained on `texts`, to `target`; the same bytes for the same texts."""
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.decoders import ByteLevel as ByteLevelDecoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=VOCABULARY - len(WORDS),
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(word, special=False, normalized=False) for word in WORDS])
    tokenizer.save(str(target))
