"""Places to run code that nobody trusts. `DockerSandbox` isolates; `LocalSandbox` is for tests only."""

from turngym.envs.sandbox.archive import Change, Snapshot
from turngym.envs.sandbox.spec import ExecResult, Limits, Sandbox, SandboxSpec

__all__ = ["Change", "ExecResult", "Limits", "Sandbox", "SandboxSpec", "Snapshot"]
