"""Seeds derived from names: the same parts give the same number in any process."""

import hashlib

__all__ = ["derive"]


def derive(*parts: int | str) -> int:
    """A seed in [0, 2**63) from `parts`, such as `derive(seed, episode, turn)`.

    Different parts give independent seeds; 1 and "1" are different parts.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return (
        int.from_bytes(
            hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
        )
        >> 1
    )
