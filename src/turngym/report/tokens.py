"""Token ids as text, by the tokenizer that lies in a run's checkpoint."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from turngym.report.folder import RunFolder

__all__ = ["token_text"]


def token_text(run: RunFolder) -> Callable[[int], str]:
    """A function from id to text; `#17` where no tokenizer is at hand."""
    checkpoints = sorted((run.path / "checkpoints").glob("step-*/tokenizer.json"))
    named = Path(str(run.config.get("policy", {}).get("path", ""))) / "tokenizer.json"
    for path in [*reversed(checkpoints), named]:
        if path.is_file():
            return _reader(path)
    if str(run.config.get("policy", {}).get("path", "")).startswith("tiny:"):
        from turngym import agents

        return _reader(Path(agents.__path__[0]) / "tiny" / "tokenizer.json")
    return lambda token: f"#{token}"


@functools.lru_cache(maxsize=8)
def _reader(path: Path) -> Callable[[int], str]:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return lambda token: f"#{token}"
    tokenizer = Tokenizer.from_file(str(path))

    @functools.lru_cache(maxsize=65536)
    def text(token: int) -> str:
        return str(tokenizer.decode([token], skip_special_tokens=False))

    return text
