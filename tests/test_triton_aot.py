"""Every Triton kernel compiles for three GPU generations, without a GPU and without spills."""

import pytest

from isolated import run_cases

pytest.importorskip("triton", reason="the kernels extra is not installed")


def test_kernels_compile_ahead_of_time():
    run_cases("aot_cases.py", TRITON_DEFAULT_FP_FUSION="1")
