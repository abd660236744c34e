"""Compile a Triton kernel for a GPU that is not here, and read what the machine code needs."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
import triton.backends.nvidia as nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

TOOLS = Path(nvidia.__file__).parent / "bin"

SHARED_MEMORY_BYTES = {80: 166_912, 90: 232_448, 100: 232_448}
"""What one program may use; the compiler does not check it."""
REGISTERS_PER_BLOCK = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Resources of one compiled kernel."""

    registers: int
    """Per thread."""
    stack_bytes: int
    spills: int
    """Instructions that store to or load from local memory."""
    shared_bytes: int


def compile_kernel(
    kernel: Any, types: Mapping[str, str], constants: Mapping[str, Any], arch: int, num_warps: int
) -> Needs:
    """Compile `kernel` for compute capability `arch`.

    Args:
        kernel: decorated with `triton.jit`.
        types: Triton type of each argument that is no constant, such as "*fp32" or "i32".
        constants: value of each other argument.
        arch: 80, 90 or 100.
        num_warps: warps of a program.
    """
    names = kernel.arg_names
    assert set(names) == set(types) | set(constants), set(names) ^ (set(types) | set(constants))
    source = ASTSource(
        fn=kernel,
        signature={name: types.get(name, "constexpr") for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={
            (names.index(name),): [["tt.divisibility", 16]]
            for name, kind in types.items()
            if kind.startswith("*")
        },
    )
    compiled = triton.compile(
        source, target=GPUTarget("cuda", arch, 32), options={"num_warps": num_warps}
    )
    return needs_of(compiled)


def needs_of(compiled: Any) -> Needs:
    """Of a kernel that Triton compiled."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage = _run("cuobjdump", "-res-usage", file.name)
        machine_code = _run("nvdisasm", file.name)
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found, usage
    return Needs(
        registers=int(found[1]),
        stack_bytes=int(found[2]),
        spills=len(re.findall(r"\b(?:STL|LDL)\b", machine_code)),
        shared_bytes=compiled.metadata.shared,
    )


def _run(tool: str, *arguments: str) -> str:
    done = subprocess.run(
        [TOOLS / tool, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout
