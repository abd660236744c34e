"""Credit methods, kernels and the policy-loss head on a GPU, within ten minutes:

    PYTHONPATH=src python benchmarks/credit/gpu.py

Measures the device first (copy bandwidth, bf16 matrix rate) and sets each figure beside what the
device allows; checks equality before each timing. Besides torch, Triton and NumPy it needs pydantic
and gymnasium. Peers take part where they are at hand (gpu_peers.py) and are named where not. Results are written after each part to
results/credit_gpu.json, so that an interrupted run keeps what it has. `--device cpu --small` runs
everything once at tiny sizes, to see that the script is whole.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gpu_kernels
import gpu_methods
import torch
from gpu_device import SMALL, Device, Limits, Sizes, limits_of
from gpu_head import head_rows
from report import Row, print_table, write_json

Part = tuple[str, Callable[[], Any]]


def main(arguments: list[str] | None = None) -> Path:
    """Run all parts; the file's path.

    Raises:
        SystemExit: no CUDA device, or a part failed (after the others ran and were stored).
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny sizes, figures void")
    parser.add_argument(
        "--budget", type=float, default=540, help="seconds; later parts are left out"
    )
    parser.add_argument("--out", default="credit_gpu", help="name of the file in results/")
    given = parser.parse_args(arguments)
    if given.device == "cuda" and not torch.cuda.is_available():
        sys.exit("no CUDA device: the GPU figures stay open")
    sizes = SMALL if given.small else Sizes()
    device = Device(kind=given.device, budget_s=sizes.budget_s)
    limits = limits_of(device, sizes)
    print(f"{device.name}: {limits}", flush=True)
    return _run(_parts(device, sizes, limits), device, limits, given.budget, given.out)


def _parts(device: Device, sizes: Sizes, limits: Limits) -> list[Part]:
    """What is measured, the most important first."""

    def head() -> tuple[list[Row], dict[str, Any]]:
        rows, figures, absent = head_rows(device, sizes, limits)
        print_table(rows)
        print(figures, flush=True)
        return rows, {"head": figures, "absent_peers": absent}

    def methods() -> tuple[list[Row], dict[str, Any]]:
        made = gpu_methods.method_rows(device, sizes, limits)
        return [], {"methods": gpu_methods.as_content(made)}

    def kernels() -> tuple[list[Row], dict[str, Any]]:
        made = gpu_kernels.kernel_rows(device, sizes, limits)
        return [], {"kernels": gpu_kernels.as_content(made)}

    return [("head", head), ("methods", methods), ("kernels", kernels)]


def _run(parts: list[Part], device: Device, limits: Limits, budget: float, out: str) -> Path:
    began, rows, content, failed = time.perf_counter(), [], {"limits": asdict(limits)}, []
    for name, part in parts:
        if time.perf_counter() - began > budget:
            failed.append(f"{name}: left out, {budget:.0f} s were over")
            continue
        try:
            more, figures = part()
            rows += more
            content.update(figures)
        except Exception as error:  # the other parts still count
            failed.append(f"{name}: {type(error).__name__}: {error}")
            print(failed[-1], file=sys.stderr, flush=True)
        seconds = round(time.perf_counter() - began, 1)
        path = write_json(out, device.name, rows, {**content, "failed": failed, "seconds": seconds})
    print(path)
    if failed:
        sys.exit("\n".join(failed))
    return path


if __name__ == "__main__":
    main()
