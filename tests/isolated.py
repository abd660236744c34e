"""Test files that need a Python process of their own, because Triton decides at import how it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def run_cases(name: str, **environment: str) -> None:
    """Run `tests/<name>` under pytest in a fresh process; fail with its output if it fails."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("TRITON_")}
    # sys.path as it is here, so that the same checkout is tested
    inherited["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(HERE / name)],
        env={**inherited, **environment},
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
