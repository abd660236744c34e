"""Heads of others: verl's Triton one and Liger's. Each is found or named as absent, never skipped
in silence.

Of verl only the kernel is imported, which needs no more than torch and Triton: verl itself wants a
cluster's worth of packages. A folder on the path is enough for both:

    pip install --no-deps --target build/peers verl==0.9.1 liger-kernel==0.8.5
    PYTHONPATH=src:build/peers python benchmarks/credit/gpu.py
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

__all__ = ["Head", "heads"]

Scores = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(hidden [M, H], head [V, H], targets [M]) -> [M] log-probabilities, differentiable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One way to score tokens."""

    name: str
    target: float
    """How many times faster ours should be."""
    load: Callable[[], Scores]
    needs_cuda: bool = False


def heads() -> list[Head]:
    """All peers, present or not; `load` raises ImportError where one is not."""
    return [
        Head(name="verl linear_cross_entropy (Triton)", target=1.5, load=_verl, needs_cuda=True),
        Head(name="Liger scaled cross entropy", target=1.0, load=lambda: _liger(False)),
        Head(name="Liger scaled cross entropy, entropy too", target=1.0, load=lambda: _liger(True)),
        Head(name="Liger linear cross entropy", target=1.0, load=_liger_supervised),
    ]


def _verl() -> Scores:
    name = "verl.utils.kernel.linear_cross_entropy"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = importlib.import_module(name)
    except ImportError:
        _stub("verl", "verl.utils", "verl.utils.kernel")
        module = importlib.import_module(name)
    function = module.linear_cross_entropy
    return lambda hidden, head, targets: function(hidden, head, targets, 1.0)[0]


def _stub(*packages: str) -> None:
    """Make packages importable without running what their __init__ imports."""
    for name in packages:
        sys.modules.pop(name, None)
    spec = importlib.util.find_spec(packages[0])
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"no package {packages[0]!r}")
    root = Path(next(iter(spec.submodule_search_locations))).parent
    for name in packages:
        module = types.ModuleType(name)
        module.__path__ = [str(root.joinpath(*name.split(".")))]
        sys.modules[name] = module


def _liger(entropy: bool) -> Scores:
    """Per-token losses; the CuTe form on Hopper where its extra is installed, else a fallback."""
    function = importlib.import_module(
        "liger_kernel.ops"
    ).LigerFusedLinearScaledCrossEntropyFunction

    def scores(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
        made = function.apply(hidden, head, targets, 1.0, -100, 1, entropy)
        return -(made[0] if entropy else made)

    return scores


def _liger_supervised() -> Scores:
    """The supervised loss, whose gradients are made in the forward pass as ours are."""
    function = importlib.import_module("liger_kernel.ops").LigerFusedLinearCrossEntropyFunction

    def scores(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
        made = function.apply(hidden, head, targets, None, None, -100, 0.0, 0.0, "sum")
        loss: Tensor = made[0] if isinstance(made, tuple) else made
        return -loss

    return scores
