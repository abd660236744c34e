"""The tiny policies: small Llama-architecture models that ship with the package.

One frozen tokenizer and chat template for all families, one checkpoint of at most 2 MB per family,
cold-started on imperfect scripted experts. `python -m turngym.trainers.tiny` makes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from turngym.errors import UnknownNameError

__all__ = ["families", "load_tiny", "tiny_model", "tiny_tokenizer"]

HERE = Path(__file__).resolve().parent
MAX_POSITIONS = 1024


def families() -> list[str]:
    """Families that have a packaged checkpoint."""
    return sorted(path.parent.name for path in HERE.glob("*/model.safetensors"))


def load_tiny(family: str) -> tuple[Any, Any]:
    """Model (float32, in evaluation mode) and tokenizer of a family.

    Raises:
        UnknownNameError: no checkpoint of that family is packaged.
    """
    from transformers import LlamaForCausalLM

    if family not in families():
        raise UnknownNameError("tiny policy", family, families())
    model = LlamaForCausalLM.from_pretrained(HERE / family, dtype="float32")
    return model.eval(), tiny_tokenizer()


def tiny_model(seed: int = 0) -> Any:
    """An untrained tiny policy: 0.9 million parameters, context of 1,024 tokens."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_POSITIONS,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


def tiny_tokenizer() -> Any:
    """The tokenizer of all tiny policies, with its chat template."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_file=str(HERE / "tokenizer.json"),
        chat_template=(HERE / "chat_template.jinja").read_text(encoding="utf-8"),
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        clean_up_tokenization_spaces=False,
        model_max_length=MAX_POSITIONS,
    )
