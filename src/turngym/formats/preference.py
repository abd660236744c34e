"""Preference data in the shape that TRL's DPO trainer reads: one beginning, two ends.

{"prompt": [...], "chosen": [...], "rejected": [...], "tools": [...]}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from turngym.errors import DataError
from turngym.formats.chat import conversation, from_chat, message_to_chat
from turngym.types import Message, Trajectory

__all__ = ["Pair", "from_pair", "pairs", "to_pair"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two episodes of one group, one better than the other."""

    chosen: Trajectory
    rejected: Trajectory
    shared: int
    """Messages at the beginning that both have."""


def pairs(trajectories: Iterable[Trajectory], *, margin: float = 0.0) -> list[Pair]:
    """The best and the worst episode of each group, where they differ.

    Args:
        trajectories: episodes whose failures were not their own are left out.
        margin: outcomes must lie further apart than this.
    """
    groups: dict[str, list[Trajectory]] = {}
    for trajectory in trajectories:
        if trajectory.status.counts and trajectory.turns and trajectory.outcome is not None:
            groups.setdefault(trajectory.group, []).append(trajectory)
    found = []
    for members in groups.values():
        best = max(members, key=lambda t: t.outcome or 0.0)
        worst = min(members, key=lambda t: t.outcome or 0.0)
        if (best.outcome or 0.0) - (worst.outcome or 0.0) <= margin:
            continue
        shared = _shared(_until_reply(best), _until_reply(worst))
        if shared:  # a prompt is needed
            found.append(Pair(chosen=best, rejected=worst, shared=shared))
    return found


def to_pair(pair: Pair) -> dict[str, Any]:
    """One row of preference data."""
    chosen, rejected = _until_reply(pair.chosen), _until_reply(pair.rejected)
    return {
        "prompt": [message_to_chat(message) for message in chosen[: pair.shared]],
        "chosen": [message_to_chat(message) for message in chosen[pair.shared :]],
        "rejected": [message_to_chat(message) for message in rejected[pair.shared :]],
        "tools": [dict(tool) for tool in pair.chosen.tools],
        "env_id": pair.chosen.env_id,
        "task_id": pair.chosen.task_id,
        "chosen_outcome": pair.chosen.outcome,
        "rejected_outcome": pair.rejected.outcome,
    }


def from_pair(row: Mapping[str, Any], *, group: str = "0") -> tuple[Trajectory, Trajectory]:
    """The chosen and the rejected episode, of one group, without token ids.

    Outcomes that are not known become 1 and 0.

    Raises:
        DataError: a part is missing.
    """
    if missing := [name for name in ("prompt", "chosen", "rejected") if not row.get(name)]:
        raise DataError(f"preference data needs {', '.join(missing)}; got {sorted(row)}")
    made = []
    for number, name in enumerate(("chosen", "rejected")):
        data = {
            **row,
            "messages": [*row["prompt"], *row[name]],
            "outcome": row.get(f"{name}_outcome", 1.0 - number),
        }
        made.append(from_chat(data, episode=f"{group}/{number}"))
    return made[0], made[1]


def _until_reply(trajectory: Trajectory) -> tuple[Message, ...]:
    return conversation(trajectory)[: -len(trajectory.closing) or None]


def _shared(a: tuple[Message, ...], b: tuple[Message, ...]) -> int:
    """Equal messages at the beginning, cut so that both ends begin with a reply."""
    count = 0
    for left, right in zip(a, b, strict=False):
        if left != right:
            break
        count += 1
    while count and not (
        count < min(len(a), len(b)) and a[count].role == b[count].role == "assistant"
    ):
        count -= 1
    return count
