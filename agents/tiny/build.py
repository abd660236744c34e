"""Train the tokenizer of the tiny policies from a text file and write it beside this module.

    python -m turngym.agents.tiny.build corpus.txt

Bytes cover any text; digits stand alone, so that a number or an id is copied digit by digit.
The tokenizer is frozen: every packaged checkpoint depends on it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from turngym.agents.tiny import HERE

__all__ = ["build_tokenizer"]

VOCABULARY = 2048
SPECIAL = ("<|pad|>", "<|im_start|>", "<|im_end|>")
TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>")


def build_tokenizer(corpus: Path, target: Path) -> None:
    """Write `tokenizer.json` for the text in `corpus`."""
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
        vocab_size=VOCABULARY - len(TAGS),
        special_tokens=list(SPECIAL),
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(corpus)], trainer)
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    tokenizer.save(str(target))


if __name__ == "__main__":
    build_tokenizer(Path(sys.argv[1]), HERE / "tokenizer.json")
