"""Every Triton kernel equals its torch definition: interpreted on the CPU, for real on a GPU."""

import pytest
import torch

from isolated import run_cases

pytest.importorskip("triton", reason="the kernels extra is not installed")


def test_kernels_through_the_interpreter():
    run_cases("parity_cases.py", TRITON_INTERPRET="1", TURNGYM_PARITY_DEVICE="cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_kernels_on_the_gpu():
    run_cases("parity_cases.py", TURNGYM_PARITY_DEVICE="cuda")
