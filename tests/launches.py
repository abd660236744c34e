"""How many device launches a computation would need, counted on the CPU under Triton's interpreter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from triton.runtime import interpreter

FREE = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "set_", "detach"}
"""Operators that run nothing on a device, besides views."""
WAITING = {
    "_local_scalar_dense",
    "_unique",
    "_unique2",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "unique_consecutive",
    "unique_dim",
}
"""Operators that wait for the device because their result's shape or value is needed at once."""


class HostWaits(AssertionError):
    """The host would have to wait for the device."""


class _Operators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.paused = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if self.paused or func.is_view or name in FREE:
            return result
        masks = name in ("index", "index_put_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        sizes = name == "repeat_interleave" and (kwargs or {}).get("output_size") is None
        if name in WAITING or masks or sizes:
            raise HostWaits(name)
        outputs = result if isinstance(result, tuple | list) else (result,)
        if any(isinstance(item, torch.Tensor) and item.numel() for item in outputs):
            self.found[name] += 1
        return result


@contextmanager
def counted_launches(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Launches by name. Each operator counts once, though sorting, for one, takes several.

    Raises:
        HostWaits: an operator within whose result the host needs.
    """
    operators = _Operators()
    launch = interpreter.GridExecutor.__call__

    def counted(self: Any, *args: Any, **kwargs: Any) -> None:
        operators.found[f"triton {self.fn.__name__}"] += 1
        operators.paused = True
        try:
            launch(self, *args, **kwargs)
        finally:
            operators.paused = False

    with monkeypatch.context() as patch, operators:
        patch.setattr(interpreter.GridExecutor, "__call__", counted)
        yield operators.found
