"""Every Triton kernel equals its torch definition: interpreted on the CPU, for real on a GPU."""

import pytest
import torch

from isolated import run_cases

pytest.importorskip("triton", reason="the kernels extra is not installed")


CASES = ("parity_cases.py", "parity_segments.py")


@pytest.mark.parametrize("cases", CASES)
def test_kernels_through_the_interpreter(cases):
    run_cases(cases, TRITON_INTERPRET="1", TURNGYM_PARITY_DEVICE="cpu")


def test_the_loss_goldens_hold_with_kernels_dispatched():
    run_cases("test_loss.py", TRITON_INTERPRET="1", TURNGYM_KERNELS="triton")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("cases", CASES)
def test_kernels_on_the_gpu(cases):
    run_cases(cases, TURNGYM_PARITY_DEVICE="cuda", TRITON_DEFAULT_FP_FUSION="1")
