"""What verifiers loads as `turngym-verifiers`: it finds a taskset by the name of a top-level module."""

from turngym.trainers.interop.verifiers_taskset import TurngymEnv, TurngymHarness, TurngymTaskset

__all__ = ["TurngymEnv", "TurngymHarness", "TurngymTaskset"]
