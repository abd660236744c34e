"""Which form of a kernel runs: Triton on CUDA, the torch reference elsewhere.

A kernel is a folder with `reference.py` (the definition) and, where one exists, `triton.py` with
functions of the same names and signatures. The second is found by name at the first call on a GPU,
so that adding it needs no edit anywhere. TURNGYM_KERNELS=reference|triton|auto overrides the choice;
`triton` also runs it on the CPU, where only Triton's interpreter (TRITON_INTERPRET=1) can.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

from turngym.errors import ConfigError, MissingExtraError, UsageError, closest

__all__ = ["VARIABLE", "backend", "dispatched", "form_to_run"]

VARIABLE = "TURNGYM_KERNELS"

_CHOICES = ("auto", "reference", "triton")

P = ParamSpec("P")
R = TypeVar("R")


def backend() -> str:
    """`auto`, `reference` or `triton`, from the environment.

    Raises:
        ConfigError: TURNGYM_KERNELS holds something else.
    """
    choice = os.environ.get(VARIABLE, "auto")
    if choice not in _CHOICES:
        raise ConfigError(
            f"{VARIABLE} is {choice!r}.{closest(choice, _CHOICES)} Known: {', '.join(_CHOICES)}."
        )
    return choice


def dispatched(reference: Callable[P, R], cpu: Callable[P, R] | None = None) -> Callable[P, R]:
    """`reference`, replaced at each call by the Triton form where that is the one to run.

    `cpu` is a faster form for the CPU, where there is one; `auto` takes it.

    In `auto` the reference also runs where there is no Triton form, where the package `triton` is
    not installed, and for float64, which no kernel computes in.

    Raises (the returned function):
        ConfigError: TURNGYM_KERNELS holds an unknown value.
        MissingExtraError: TURNGYM_KERNELS=triton and the package is not installed.
        UsageError: TURNGYM_KERNELS=triton and the kernel has no Triton form.
    """
    module = reference.__module__.removesuffix(".reference") + ".triton"

    @functools.wraps(reference)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if cpu is not None and _on_cpu(args) and backend() == "auto":
            return cpu(*args, **kwargs)
        form = form_to_run(module, reference.__name__, (*args, *kwargs.values()))
        result: R = (form or reference)(*args, **kwargs)
        return result

    return run


def form_to_run(module: str, name: str, arguments: Iterable[Any]) -> Callable[..., Any] | None:
    """The function `name` of `module` if that is what runs on these arguments, else None.

    Raises:
        ConfigError, MissingExtraError, UsageError: as `dispatched`.
    """
    choice = backend()
    if choice == "reference" or (choice == "auto" and not _on_gpu(arguments)):
        return None
    form = _triton_form(module, name)
    if form is None and choice == "triton":
        raise _no_triton_form(module, name)
    return form


def _on_cpu(arguments: tuple[Any, ...]) -> bool:
    return isinstance(arguments[0], Tensor) and arguments[0].is_cpu


def _on_gpu(arguments: Iterable[Any]) -> bool:
    on_gpu = False
    for value in arguments:
        if isinstance(value, Tensor):
            if value.dtype == torch.float64:
                return False
            on_gpu = on_gpu or value.is_cuda
    return on_gpu


@functools.cache
def _triton_form(module: str, name: str) -> Callable[..., Any] | None:
    """The function `name` of `module`; None where the package or the function does not exist."""
    if importlib.util.find_spec("triton") is None or importlib.util.find_spec(module) is None:
        return None
    return getattr(importlib.import_module(module), name, None)


def _no_triton_form(module: str, name: str) -> Exception:
    if importlib.util.find_spec("triton") is None:
        return MissingExtraError("triton", "kernels")
    return UsageError(
        f"{VARIABLE}=triton, but {name} has no Triton form ({module}). Use auto or reference."
    )
