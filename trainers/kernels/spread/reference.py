"""From turns to tokens.

Legend: N tokens, K turns.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["spread"]


def spread(values: Tensor, turn_of_token: Tensor) -> Tensor:
    """[N] the value of each token's turn, 0 where the token belongs to none, with gradient.

    Args:
        values: [K], any dtype.
        turn_of_token: [N] int64, -1 where the token was not sampled by us.
    """
    padded = torch.cat([values.new_zeros(1), values])
    return padded[turn_of_token + 1]
