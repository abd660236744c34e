"""Grounding (SPA): whether the environment could carry out a turn's action."""

from __future__ import annotations

from collections.abc import Sequence

from turngym.trainers.signals.signal import Columns, Models, NoSettings, Signal, signal
from turngym.trainers.types import TurnBatch
from turngym.types import Trajectory, TurnStatus

__all__ = ["Grounding"]

_INVALID = list(TurnStatus).index(TurnStatus.INVALID_ACTION)


@signal("grounding")
class Grounding(Signal[NoSettings]):
    """Turn column `grounding`: 0 where the status is `invalid_action`, else 1.

    Source: arXiv 2505.20732, whose code reads one environment's phrase for a refused action instead
    and always counts the last turn as carried out.
    """

    settings = NoSettings

    def columns(
        self, trajectories: Sequence[Trajectory], batch: TurnBatch, models: Models
    ) -> Columns:
        """Metric `mean`: share of turns that were carried out."""
        grounded = (batch.turn_status != _INVALID).float()
        counted = batch.turn_mask
        mean = float(grounded[counted].mean()) if bool(counted.any()) else 0.0
        return Columns(turn={"grounding": grounded}, metrics={"mean": mean})
