"""Every Triton kernel compiles for three GPU generations, without a GPU and without spills."""

import re
from pathlib import Path

import pytest

from isolated import run_cases

KERNELS = Path(__file__).resolve().parents[1] / "trainers" / "kernels"

pytest.importorskip("triton", reason="the kernels extra is not installed")


@pytest.mark.parametrize("cases", ["aot_cases.py", "aot_fused_credit.py"])
@pytest.mark.parametrize(
    "arch",
    [90, pytest.param(80, marks=pytest.mark.slow), pytest.param(100, marks=pytest.mark.slow)],
)
def test_kernels_compile_ahead_of_time(arch, cases):
    run_cases(cases, TRITON_DEFAULT_FP_FUSION="1", TURNGYM_ARCH=str(arch))


@pytest.mark.slow
@pytest.mark.parametrize("arch", [80, 90, 100])
def test_every_preset_and_tile_of_credit_compiles(arch):
    run_cases(
        "aot_fused_credit.py",
        TRITON_DEFAULT_FP_FUSION="1",
        TURNGYM_ARCH=str(arch),
        TURNGYM_AOT_EVERYTHING="1",
    )


@pytest.mark.skipif(not KERNELS.is_dir(), reason="needs the checkout, not an installed wheel")
def test_programs_address_in_64_bits():
    # a 32-bit product of program number and block or stride wraps silently, here and on a GPU
    for path in KERNELS.glob("*/triton.py"):
        text = path.read_text(encoding="utf-8")
        for call in re.findall(r"tl\.program_id\(0\).*", text):
            assert call.startswith("tl.program_id(0).to(tl.int64)"), f"{path}: {call}"
