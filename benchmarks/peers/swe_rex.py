"""swe-rex 1.4 in a container, for benchmarks/swe.py: run by the Python of its own environment.

    python swe_rex.py IMAGE TIMES

The server starts from this environment's site-packages, mounted read-only, so that no installation is
counted; IMAGE must have the same minor version of Python. Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import logging
import statistics
import subprocess
import sys
import time
from typing import Any

import swerex
from swerex.runtime.abstract import BashAction, Command, CreateBashSessionRequest
from swerex.runtime.remote import RemoteRuntime

PORT = 18899


async def main(image: str, times: int) -> dict[str, Any]:
    """Medians in milliseconds."""
    packages = swerex.__path__[0].rpartition("/")[0]
    began = time.perf_counter()
    command = ["docker", "run", "-d", "--rm", "--network=host", "-v", f"{packages}:/opt/rex:ro"]
    command += ["-e", "PYTHONPATH=/opt/rex", "-e", "PYTHONDONTWRITEBYTECODE=1", image]
    command += ["python3", "-m", "swerex.server", "--host=127.0.0.1", f"--port={PORT}"]
    made = subprocess.run([*command, "--auth-token=x"], capture_output=True, text=True, check=True)
    try:
        runtime = RemoteRuntime(host="http://127.0.0.1", port=PORT, auth_token="x", timeout=60)
        await runtime.wait_until_alive(timeout=120)
        alive = 1e3 * (time.perf_counter() - began)
        began = time.perf_counter()
        await runtime.create_session(CreateBashSessionRequest(startup_timeout=10))
        session = 1e3 * (time.perf_counter() - began)
        said = await runtime.run_in_session(BashAction(command="echo hi"))
        spent: dict[str, list[float]] = {
            "run_in_session": [],
            "ignoring_exit_code": [],
            "execute": [],
        }
        for _ in range(times):
            for name, act in (
                ("run_in_session", BashAction(command="true")),
                ("ignoring_exit_code", BashAction(command="true", check="ignore")),
            ):
                began = time.perf_counter()
                await runtime.run_in_session(act)
                spent[name].append(1e3 * (time.perf_counter() - began))
            began = time.perf_counter()
            await runtime.execute(Command(command=["true"]))
            spent["execute"].append(1e3 * (time.perf_counter() - began))
        return {
            "version": swerex.__version__,
            "says": said.output.strip(),
            "start_ms": round(alive, 1),
            "create_session_ms": round(session, 1),
            **{f"{name}_ms": round(statistics.median(all_), 3) for name, all_ in spent.items()},
        }
    finally:
        subprocess.run(["docker", "rm", "-f", made.stdout.strip()], capture_output=True, check=True)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    print(json.dumps(asyncio.run(main(sys.argv[1], int(sys.argv[2])))))
