"""Policy-aware weights of checklist items, an option in the spirit of POW3R (arXiv 2605.20164).

The paper's weight formula is in no copy that we could read; **this formula is ours**:

    p_c  share of the group's members that satisfy item c
    d_c  4 p_c (1 - p_c), 1 where the group is split in half, 0 where all or none satisfy it
    e_c  running mean of d_c: decay * e_c + (1 - decay) * d_c, the first time d_c
    w'_c proportional to w_c (rho + (1 - rho) e_c), scaled so that each category keeps its total weight

Items that everybody or nobody satisfies tell the members of a group nothing apart; here they count less, and
rho says how much is kept. For training alone: evaluation always uses w_c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from turngym.errors import ConfigError
from turngym.rewards.reward import Level, TurnValue
from turngym.rewards.tool_checklist import checklist_of, checklist_turns, satisfied
from turngym.types import Trajectory

__all__ = ["ContrastReward", "ContrastWeights", "contrast", "reweighted"]


def contrast(satisfied: Sequence[bool | None]) -> float | None:
    """4 p (1 - p) over the members that have a verdict; None without any."""
    known = [bool(each) for each in satisfied if each is not None]
    if not known:
        return None
    share = sum(known) / len(known)
    return 4 * share * (1 - share)


def reweighted(
    weights: Mapping[str, float],
    contrasts: Mapping[str, float],
    *,
    rho: float = 0.2,
    categories: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """The weights w'.

    Args:
        weights: item -> w, at least 0.
        contrasts: item -> e in [0, 1]; an item without one counts in full.
        rho: in [0, 1], what an item without contrast keeps before scaling. 1 changes nothing.
        categories: item -> category whose total stays; by default all items are of one.

    A category in which nothing is left (rho 0, no contrast) keeps its weights.

    Raises:
        ConfigError: rho is out of range.
    """
    if not 0 <= rho <= 1:
        raise ConfigError(f"rho must be from 0 to 1, got {rho}")
    raw = {c: w * (rho + (1 - rho) * contrasts.get(c, 1.0)) for c, w in weights.items()}
    groups: dict[str, list[str]] = {}
    for item in weights:
        groups.setdefault((categories or {}).get(item, ""), []).append(item)
    found = dict(weights)
    for items in groups.values():
        left = sum(raw[item] for item in items)
        if left > 0:
            scale = sum(weights[item] for item in items) / left
            found.update((item, raw[item] * scale) for item in items)
    return found


@dataclass(slots=True, kw_only=True)
class ContrastWeights:
    """Running contrasts of items, and the weights that follow from them.

    Keys name an item for good, such as `task/exchange/item`.
    """

    rho: float = 0.2
    decay: float = 0.9
    running: dict[str, float] = field(default_factory=dict)
    """Item -> e, to be kept in checkpoints."""

    def update(self, group: Sequence[Mapping[str, bool | None]]) -> None:
        """Take in which items each member of a group satisfied; None where a judge failed."""
        for item in {name for member in group for name in member}:
            now = contrast([member.get(item) for member in group])
            if now is not None:
                before = self.running.get(item, now)
                self.running[item] = self.decay * before + (1 - self.decay) * now

    def weights(
        self, weights: Mapping[str, float], categories: Mapping[str, str] | None = None
    ) -> dict[str, float]:
        """The weights for training; see `reweighted`."""
        return reweighted(weights, self.running, rho=self.rho, categories=categories)


@dataclass(slots=True, kw_only=True)
class ContrastReward:
    """`cm2_turn` with contrast weights; each exchange keeps its total. For training alone.

    Call `update` with the trajectories of each group, then score them.
    """

    contrasts: ContrastWeights = field(default_factory=ContrastWeights)
    name: str = "cm2_turn_contrast"
    level: Level = "turn"

    def update(self, group: Sequence[Trajectory]) -> None:
        """Take in what the members of one task's group satisfied in the exchanges they reached."""
        self.contrasts.update(
            [
                {f"{each.task_id}/{item}": value for item, value in satisfied(each).items()}
                for each in group
            ]
        )

    def __call__(self, trajectory: Trajectory) -> tuple[TurnValue, ...]:
        own = {
            f"{number}/{item.id}": item.weight
            for number, items in enumerate(checklist_of(trajectory))
            for item in items
        }
        prefix = f"{trajectory.task_id}/"
        running = {
            key.removeprefix(prefix): value
            for key, value in self.contrasts.running.items()
            if key.startswith(prefix)
        }
        exchanges = {item: item.partition("/")[0] for item in own}
        weights = reweighted(own, running, rho=self.contrasts.rho, categories=exchanges)
        return checklist_turns(trajectory, weights=weights)
