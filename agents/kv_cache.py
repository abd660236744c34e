"""Key-value memory of a batch whose rows have different lengths.

Legend: R rows, P positions, H key-value heads, D head size, Q new tokens per row.

Row r keeps its tokens at positions 0..length[r]-1, so nothing is shifted or padded on the left. A
row's past is found again in the next turn through a `Past`, a view that costs nothing until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["BatchCache", "Past", "attention_mask"]


@dataclass(frozen=True, slots=True)
class Past:
    """One row of a finished batch: the keys and values of an episode so far."""

    cache: BatchCache
    row: int
    length: int
    """Positions that hold tokens."""


class BatchCache:
    """What a Hugging Face model asks of `past_key_values`, over tensors that are written in place."""

    def __init__(self, pasts: Sequence[Past | None], capacity: int) -> None:
        """The given pasts, with room for `capacity` positions a row; more are added as needed."""
        self._pasts, self._capacity = tuple(pasts), capacity
        self._layers: list[tuple[Tensor, Tensor]] = []
        """Keys and values of each layer, [R, H, P, D]."""
        self._write = torch.zeros(0)
        self._seen = 0

    @property
    def nbytes(self) -> int:
        """Memory of all keys and values."""
        return sum(held.nbytes for layer in self._layers for held in layer)

    def at(self, positions: Tensor, seen: int) -> None:
        """Announce a forward pass.

        Args:
            positions: [R, Q] int64 where its tokens go.
            seen: positions that attention may look at, counted from 0.
        """
        self._write, self._seen = positions, seen
        if self._layers:
            self._pasts = ()  # copied by now; holding on would keep the caches of all turns alive
        if seen > self._capacity:
            self._capacity = max(seen, 3 * self._capacity // 2)
            self._layers = [(self._longer(k), self._longer(v)) for k, v in self._layers]

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Store [R, H, Q, D] keys and values and give all of [R, H, seen, D]."""
        if layer == len(self._layers):
            self._layers.append((self._start(keys, 0), self._start(values, 1)))
        rows = torch.arange(keys.shape[0], device=keys.device).unsqueeze(1)
        held_keys, held_values = self._layers[layer]
        held_keys[rows, :, self._write] = keys.transpose(1, 2)
        held_values[rows, :, self._write] = values.transpose(1, 2)
        return held_keys[:, :, : self._seen], held_values[:, :, : self._seen]

    def rows(self, keep: Tensor) -> BatchCache:
        """A cache of its own with these rows [R'] only; this one stays as it is."""
        part = BatchCache((), self._capacity)
        part._layers = [(keys[keep], values[keep]) for keys, values in self._layers]
        return part

    def get_seq_length(self, layer: int = 0) -> int:
        """Part of the interface; positions are always given, so nothing depends on it."""
        return 0

    def _start(self, new: Tensor, part: int) -> Tensor:
        # Zeros, not garbage: a masked NaN would still spoil the sum of attention.
        layer, (rows, heads, _, size) = len(self._layers), new.shape
        held = new.new_zeros(rows, heads, self._capacity, size)
        for row, past in enumerate(self._pasts):
            if past is not None:
                old = past.cache._layers[layer][part]
                held[row, :, : past.length] = old[past.row, :, : past.length]
        return held

    def _longer(self, held: Tensor) -> Tensor:
        rows, heads, old, size = held.shape
        longer = held.new_zeros(rows, heads, self._capacity, size)
        longer[:, :, :old] = held
        return longer


def attention_mask(config: Any, positions: Tensor, seen: int, dtype: torch.dtype) -> Any:
    """Additive mask(s) [R, 1, Q, seen]: a token at position p sees positions 0..p.

    Models whose layers slide get a window as well; models with layers of both kinds get a mask for
    each, as their code expects it.
    """
    key = torch.arange(seen, device=positions.device)
    ahead = key > positions.unsqueeze(2)  # [R, Q, seen]
    window = getattr(config, "sliding_window", None)
    slid = ahead if window is None else ahead | (key <= positions.unsqueeze(2) - window)

    def additive(hidden: Tensor) -> Tensor:
        mask = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
        return mask.masked_fill_(hidden, torch.finfo(dtype).min).unsqueeze(1)

    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        return additive(slid)
    made = {"full_attention": ahead, "sliding_attention": slid}
    return {kind: additive(made[kind]) for kind in set(kinds)}
