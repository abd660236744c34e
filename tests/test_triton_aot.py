"""Every Triton kernel compiles for three GPU generations, without a GPU and without spills."""

import pytest

from isolated import run_cases

pytest.importorskip("triton", reason="the kernels extra is not installed")


@pytest.mark.parametrize(
    "arch",
    [90, pytest.param(80, marks=pytest.mark.slow), pytest.param(100, marks=pytest.mark.slow)],
)
def test_kernels_compile_ahead_of_time(arch):
    run_cases("aot_cases.py", TRITON_DEFAULT_FP_FUSION="1", TURNGYM_ARCH=str(arch))
