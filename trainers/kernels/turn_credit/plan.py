"""A turn-level credit method as data, for the kernels that run all of it at once.

A method is what its torch form computes; a plan says the same as settings of one fixed sequence:

    E_i     = norm_q(s_i),  s_i = R_i + score_rewards sum_t r_{i,t}              score
    x_{i,t} = weight column + other_weight other + offset                        values
    x       = norm(x)                                                            before
    x      += E or R, on every turn or the last                                  score_to, outcome_last
    y_{i,t} = sum_{k >= t} gamma^{k-t} x_{i,k}, or GAE                           gamma, lam
    A_{i,t} = own y + near.weight norm(y) + wide.weight norm(y or x) + E         own, near, wide

Every step but the values may be missing. Legend: K turns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from turngym.trainers.kernels.segment_norm import NormRule

__all__ = ["Norm", "TurnPlan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """One `segment_norm` of a plan."""

    name: str | None = None
    """In the metrics; None: not there."""
    rule: NormRule
    scope: Literal["group", "turn", "exchange", "anchor", "batch"] = "group"
    """What rows that are compared share; `turn` and `exchange` within the group."""
    share: Literal["row", "length", "first", "trained", "tokens"] = "row"
    """How often a row counts in the statistics: once; as often as its trajectory has turns; once if
    it is a first turn; once if it is trained; as often as it has tokens if it is trained."""
    leave_one_out: bool = False
    """Times n / (n - 1): less the mean of the others."""
    weight: float = 1.0
    """Of the result in the advantage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnPlan:
    """The settings of the sequence above."""

    score: Norm | None = None
    """Of each trajectory in its group; scope `group`."""
    score_rewards: float = 0.0
    score_to: Literal["advantage", "every", "to_go", "last"] = "advantage"
    """Where E goes: to A; to x of every turn, before it is normalised; the same, then x times the
    number of turns still to come; to x of the last turn, after it is normalised."""
    column: str | None = None
    """Of the batch or its turn columns; None: x begins as 0."""
    weight: float = 1.0
    other: str | None = None
    other_weight: float = 0.0
    offset: float = 0.0
    known: str | None = None
    """Bool column: turns whose x exists; None: all."""
    unknown: Literal["zero", "exclude", "mean"] = "zero"
    """A turn whose x does not exist: 0; 0 and outside of all statistics; its trajectory's mean."""
    before: Norm | None = None
    """Scope `group`, `turn` or `exchange`."""
    outcome_last: bool = False
    gamma: float | None = None
    """Discount per turn; None: y = x."""
    lam: float | None = None
    """With turn values: GAE instead of the return."""
    root_count: bool = False
    """Divide y by the root of the number of known turns from t on."""
    own: float = 1.0
    near: Norm | None = None
    """Scope `group`, `turn` or `exchange`. Its rule `drop` takes lone turns out of the loss."""
    wide: Norm | None = None
    """Scope `group`, `anchor` or `batch`."""
    wide_of_values: bool = False
    """Of x instead of y."""
    clip_beta: float | None = None
    """Clip factor 1 + beta (2 sigmoid(x) - 1)."""

    @property
    def norms(self) -> tuple[Norm | None, ...]:
        """In the order in which kernels count their lone and flat segments."""
        return self.score, self.before, self.near, self.wide

    @property
    def needs_groups(self) -> bool:
        """Whether a program must see a whole group."""
        return any(norm is not None and norm.scope != "batch" for norm in self.norms)

    @property
    def second_launch(self) -> Norm | None:
        """The norm that cannot be finished inside a group's program."""
        return self.wide if self.wide is not None and self.wide.scope != "group" else None

    @property
    def drops(self) -> bool:
        """Whether turns may leave the loss."""
        norms = (self.score, self.near)
        return any(norm is not None and norm.rule.singleton == "drop" for norm in norms)
