"""The processes that train together: here one, which has all the work and all the weights.

`trainers.shard.Ranks` is the other kind. Code that must know of several processes calls these
methods, and on a team of one they do nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from turngym.trainers.forward import micro_batches, policy_output
from turngym.trainers.types import PolicyOutput, TurnBatch

__all__ = ["Part", "Team"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What goes through the model at once."""

    batch: TurnBatch
    tokens: Tensor
    """[n] its rows in the whole batch."""
    turns: Tensor
    """[k] its rows in the whole batch."""
    scale: float = 1.0
    """Factor on its loss; 0: the part is computed for the sake of the others alone."""


class Team:
    """One process."""

    rank = 0
    size = 1

    @property
    def sharded(self) -> bool:
        """Whether each process has only a part of the weights."""
        return self.size > 1

    def adopt(self, model: Any, dtype: str) -> None:
        """Prepare a model for `policy_output`, in place; `dtype` is what it shall compute in."""

    def policy_output(self, model: Any, batch: TurnBatch, *, entropy: bool) -> PolicyOutput:
        """As `forward.policy_output`; every process calls it equally often."""
        return policy_output(model, batch, entropy=entropy)

    def parts(self, batch: TurnBatch, max_tokens: int) -> list[Part]:
        """The share of this process in parts of about `max_tokens` tokens."""
        cut = micro_batches(batch, max_tokens)
        return [Part(batch=part, tokens=tokens, turns=turns) for part, tokens, turns in cut]

    def total(self, share: Tensor) -> Tensor:
        """The sum over the processes."""
        return share

    def mine(self, work: Sequence[T]) -> Sequence[T]:
        """Which of `work` this process does."""
        return work

    def pool(self, do: Callable[[], list[T]]) -> list[T]:
        """What all processes did, in the order of their ranks; raises what any of them raised."""
        return do()

    def first(self, do: Callable[[], T]) -> T:
        """What the first process finds, for all; raises what it raised."""
        return do()

    def first_keeps(self, do: Callable[[], T]) -> T | None:
        """What the first process makes for itself; None for the others, but all raise."""
        made: list[T] = []
        self.first(lambda: made.append(do()) if self.rank == 0 else None)
        return made[0] if made else None

    def close(self) -> None:
        """Leave the team."""
