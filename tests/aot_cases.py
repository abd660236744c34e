"""Run by test_triton_aot.py in its own process: every kernel, compiled for one generation."""

import os

import pytest
import triton
import triton.language as tl

from aot import REGISTERS_PER_BLOCK, SHARED_MEMORY_BYTES, compile_kernel
from turngym.trainers.kernels.discounted_return import triton as returns
from turngym.trainers.kernels.linear_logprob import triton as linear
from turngym.trainers.kernels.segment_norm import triton as norm
from turngym.trainers.kernels.segment_sum import triton as sums
from turngym.trainers.kernels.spread import triton as spread
from turngym.trainers.kernels.turn_policy_loss import triton as policy

ARCH = int(os.environ["TURNGYM_ARCH"])

_LOSS_TYPES = {
    **dict.fromkeys(("LOGPROBS", "OLD", "ADVANTAGE", "LOW", "HIGH", "SCALE", "UNIT"), "*fp32"),
    **dict.fromkeys(("TOKEN_ADVANTAGE", "WEIGHT", "REFERENCE", "ENTROPY"), "*fp32"),
    **dict.fromkeys(("LOSS", "TOKENS", "LOG_RATIO", "KL_OLD", "KL_REFERENCE", "CLIPPED"), "*fp32"),
    **dict.fromkeys(("D_LOGPROBS", "D_ENTROPY"), "*fp32"),
    **dict.fromkeys(("dual_clip", "kl_coef", "entropy_coef"), "fp32"),
    "MASK": "*i1",
    "FIRST": "*i64",
    "LENGTH": "*i64",
}
_LOSS_CONSTANTS = {"DUAL": True, "KIND": 3, "K2_GRADIENT": False, "BLOCK": policy.BLOCK}
_EVERYTHING = dict.fromkeys(("HAS_ADVANTAGE", "HAS_WEIGHT", "HAS_REFERENCE", "HAS_ENTROPY"), True)
_STATISTICS = {"TARGETS": "*i64", "TOTAL": "*fp32", "ENTROPY": "*fp32", "stride": "i32"}

_SCAN = dict.fromkeys(("FACTOR", "VALUE"), "*fp32")
_FLAGS = dict.fromkeys(("DIVIDE", "RAW", "DROP", "HAS_MASK", "HAS_SOURCE", "HAS_WEIGHT"), True)

CASES = {
    "segment sum": (
        sums.segment_sum_kernel,
        {
            **dict.fromkeys(("VALUES", "OUT", "COUNTS"), "*fp32"),
            **dict.fromkeys(("ORDER", "STARTS"), "*i64"),
        },
        {"BLOCK": sums.BLOCK},
        4,
    ),
    "spread": (
        spread.spread_kernel,
        {"VALUES": "*fp32", "TURN": "*i64", "OUT": "*fp32", "num_tokens": "i32"},
        {"BLOCK": spread.BLOCK},
        4,
    ),
    "block ends": (
        returns.block_ends_kernel,
        {**_SCAN, "ENDS_FACTOR": "*fp32", "ENDS_VALUE": "*fp32", "n": "i32"},
        {"BLOCK": returns.BLOCK},
        4,
    ),
    "chain": (
        returns.chain_kernel,
        {**_SCAN, "OUT": "*fp32", "n": "i32"},
        {"BLOCK": returns.BLOCK},
        4,
    ),
    "finish": (
        returns.finish_kernel,
        {**_SCAN, "CARRIES": "*fp32", "OUT": "*fp32", "n": "i32", "blocks": "i32"},
        {"BLOCK": returns.BLOCK},
        4,
    ),
    "segment norm": (
        norm.segment_norm_kernel,
        {
            **dict.fromkeys(("VALUES", "WEIGHT", "OUT", "ALONE", "FLAT"), "*fp32"),
            **dict.fromkeys(("ORDER", "STARTS"), "*i64"),
            **dict.fromkeys(("MASK", "SOURCE"), "*i1"),
            **dict.fromkeys(("ddof", "eps", "eps_inside", "std_floor"), "fp32"),
            "KEPT": "*i8",
        },
        {**_FLAGS, "BLOCK": norm.BLOCK},
        4,
    ),
    **{
        f"policy loss, {level}-level ratio": (
            policy.turn_policy_loss_kernel,
            _LOSS_TYPES,
            {**_LOSS_CONSTANTS, **_EVERYTHING, "LEVEL": code},
            4,
        )
        for code, level in enumerate(("token", "turn", "sequence"))
    },
    "turn sums": (
        policy.turn_sums_kernel,
        {
            **dict.fromkeys(("LOGPROBS", "OLD", "SUMS", "COUNTS"), "*fp32"),
            "MASK": "*i1",
            "FIRST": "*i64",
            "LENGTH": "*i64",
        },
        {"BLOCK": policy.BLOCK},
        4,
    ),
    "softmax statistics": (
        linear.statistics_kernel,
        {**_STATISTICS, "LOGITS": "*fp32", "LOGPROBS": "*fp32", "vocab": "i32"},
        {"BLOCK": linear.BLOCK},
        linear.WARPS,
    ),
    **{
        f"logit gradients into {out}": (
            linear.gradient_kernel,
            {
                **_STATISTICS,
                **dict.fromkeys(("LOGITS", "D_LOGPROBS", "D_ENTROPY"), "*fp32"),
                "OUT": f"*{out}",
                "out_stride": "i32",
                "vocab": "i32",
            },
            {"BLOCK": linear.BLOCK, "HAS_ENTROPY": True},
            linear.WARPS,
        )
        for out in ("fp32", "bf16")
    },
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_compiles_within_the_limits(case):
    kernel, types, constants, num_warps = case
    needs = compile_kernel(kernel, types, constants, ARCH, num_warps)
    assert needs.spills == 0, needs
    assert needs.stack_bytes == 0, needs
    assert needs.shared_bytes <= SHARED_MEMORY_BYTES[ARCH], needs
    assert needs.registers * 32 * num_warps <= REGISTERS_PER_BLOCK, needs


@triton.jit
def _greedy_kernel(X, OUT, N: tl.constexpr):
    offsets = tl.arange(0, N)
    x = tl.load(X + offsets)  # 512 values per thread stay alive until the maximum is known
    tl.store(OUT + offsets, x - tl.max(x))


def test_the_check_sees_spills():
    types = {"X": "*fp32", "OUT": "*fp32"}
    needs = compile_kernel(_greedy_kernel, types, {"N": 16384}, ARCH, 1)
    assert needs.spills > 0


@triton.jit
def _broken_kernel(X, N: tl.constexpr):
    tl.store(X + tl.arange(0, N), tl.arange(0, 2 * N))


def test_the_check_sees_compile_errors():
    with pytest.raises(triton.CompilationError):
        compile_kernel(_broken_kernel, {"X": "*i32"}, {"N": 16}, ARCH, 1)
