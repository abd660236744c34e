"""A token-level credit method as data, for the kernel that runs all of it at once.

    H_j = r_j + gamma^d ((1 - lam^d) V_next + lam^d H_next),    A_j = H_j - V_j

over sampled tokens; `next` is the next one. d is 1, or the number of turns in between. A turn's reward
lies on its last token; behind the last token of all, H is the outcome and d is 0. With two levels
the same holds over the last tokens of turns, and inside a turn over its tokens, where H of the last
token is what the upper level says. The result is own A + wide.weight norm(A).

Legend: N tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from turngym.trainers.kernels.turn_credit.plan import Norm

__all__ = ["TokenPlan"]

_TINY = 1e-38


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPlan:
    """The settings of the sequence above."""

    gamma: float
    lam: float = 1.0
    turn_time: bool = False
    """d counts turns; else it is 1."""
    inner_gamma: float | None = None
    """Discount per token inside a turn; then gamma and lam are of the upper level. None: one level."""
    inner_lam: float = 1.0
    reward_weight: float
    """Of turn rewards."""
    critic: bool = True
    """Token column `values`; False: V = 0, and no targets come out."""
    own: float
    """Weight of A as it is."""
    wide: Norm
    """Of A over the batch's trained tokens, with its weight."""

    @property
    def norms(self) -> tuple[Norm | None, ...]:
        """As those of a TurnPlan."""
        return None, None, None, self.wide

    @property
    def log_gamma(self) -> float:
        """To base 2."""
        return math.log2(max(self.gamma, _TINY))

    @property
    def log_lam(self) -> float:
        """To base 2."""
        return math.log2(max(self.lam, _TINY))
