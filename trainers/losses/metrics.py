"""What a policy loss reports: clip fraction, ratios and KL, by turn position.

Legend: N tokens, K turns, B trajectories, T longest trajectory in turns.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from turngym.trainers.kernels.turn_policy_loss import TurnPolicyLoss
from turngym.trainers.losses.denominators import Denominators
from turngym.trainers.types import TurnBatch

__all__ = ["QUANTILES", "loss_metrics", "segment_quantiles"]

QUANTILES = (0.05, 0.5, 0.95)


def loss_metrics(
    result: TurnPolicyLoss, batch: TurnBatch, denominators: Denominators
) -> Mapping[str, float]:
    """Metrics over the trained turns of `batch`; waits for the device once.

    `clip_fraction`, `kl_old` and `kl_reference` are means over trained tokens. `turn3/ratio_p95` is
    the 95 % quantile, over the fourth turns, of a turn's mean ratio exp(mean log-ratio), and
    `turn3/kl_p95` of its mean k3; positions that no trained turn has are left out.
    `dropped_tokens` had log-probabilities that are not finite.
    """
    total = result.tokens.sum().clamp_min(1)
    columns = {"clip_fraction": result.clipped, "kl_old": result.kl_old}
    if result.kl_reference is not None:
        columns["kl_reference"] = result.kl_reference
    means = torch.stack([(column * result.tokens).sum() / total for column in columns.values()])
    trained = result.tokens > 0
    quantiles = [
        segment_quantiles(column, trained, batch.turn_index, batch.max_turns).flatten()
        for column in (result.log_ratio.exp(), result.kl_old)
    ]
    values = torch.cat([means, *quantiles]).tolist()
    names = list(columns) + [
        f"turn{position}/{name}_p{round(100 * level):02d}"
        for name in ("ratio", "kl")
        for position in range(batch.max_turns)
        for level in QUANTILES
    ]
    metrics = {n: v for n, v in zip(names, values, strict=True) if v == v}
    return {**metrics, "dropped_tokens": float(denominators.dropped)}


def segment_quantiles(values: Tensor, mask: Tensor, segment: Tensor, num_segments: int) -> Tensor:
    """[num_segments, len(QUANTILES)] lower quantiles of each segment; NaN for an empty one.

    Args:
        values: [K]
        mask: [K] bool, the values that count.
        segment: [K] int64 in 0..num_segments-1.
        num_segments: how many rows to give back.
    """
    levels = torch.tensor(QUANTILES, dtype=torch.float64, device=values.device)
    segment = torch.where(mask, segment, num_segments)  # the rest goes behind the last segment
    order = values.argsort()
    order = order[segment[order].argsort(stable=True)]
    counts = torch.zeros(num_segments + 1, dtype=torch.int64, device=values.device)
    counts = counts.index_add(0, segment, torch.ones_like(segment))
    starts = counts.cumsum(0) - counts
    ranks = ((counts[:-1, None] - 1).clamp_min(0) * levels).floor().long()
    places = (starts[:-1, None] + ranks).clamp_max(max(values.shape[0] - 1, 0))
    if values.shape[0] == 0:
        return values.new_full((num_segments, len(QUANTILES)), float("nan"))
    picked = values[order][places]
    return torch.where(counts[:-1, None] > 0, picked, float("nan"))
