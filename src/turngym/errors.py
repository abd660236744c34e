"""Every error that turngym raises on purpose.

TurnGymError
├── UnknownNameError (KeyError)       a name that no registry holds
├── ConfigError      (ValueError)     a setting that is unknown, mistyped or out of range
├── DataError        (ValueError)     a file or row that does not have the stated form
├── ContractError    (AssertionError) an environment that breaks the contract of TextEnv
├── UsageError       (RuntimeError)   calls in an order that has no meaning, such as step before reset
├── MissingExtraError (ImportError)   an optional dependency; the message holds the pip line
├── ContextOverflow                   the conversation outgrew the model: the episode is truncated
├── AgentTimeoutError                 the agent used up its time: its own failure
├── RunStopped                        a training run that cannot go on; nothing done so far is lost
│   └── StorageFailure                the disk does not take what the run must write
└── NotTheAgentsFault                 keeps an episode out of loss, baselines and success rates
    ├── EnvironmentFailure            status env_error
    ├── JudgeFailure                  status judge_error
    ├── SimulatorFailure              status simulator_error
    ├── InfraFailure                  status infra_error
    │   └── WorkerLost                the machine that held an environment is gone: play it again
    └── InfraTimeout                  status infra_timeout

A message says what is wrong, what came, what was expected and what to do.
"""

import difflib
from collections.abc import Iterable

__all__ = [
    "AgentTimeoutError",
    "ConfigError",
    "ContextOverflow",
    "ContractError",
    "DataError",
    "EnvironmentFailure",
    "InfraFailure",
    "InfraTimeout",
    "JudgeFailure",
    "MissingExtraError",
    "NotTheAgentsFault",
    "RunStopped",
    "SimulatorFailure",
    "StorageFailure",
    "TurnGymError",
    "UnknownNameError",
    "UsageError",
    "WorkerLost",
    "closest",
]


class TurnGymError(Exception):
    """Base class of all errors raised on purpose by turngym."""


class UnknownNameError(TurnGymError, KeyError):
    """A name that the registry does not hold; lists the known ones and the closest match."""

    def __init__(self, kind: str, name: str, known: Iterable[str], remedy: str = "") -> None:
        names = sorted(known)
        text = (
            f"unknown {kind} {name!r}.{closest(name, names)} Known: {', '.join(names) or 'none'}."
        )
        super().__init__(f"{text} {remedy}".rstrip())

    def __str__(self) -> str:  # KeyError would print the repr of its argument
        return str(self.args[0])


class ConfigError(TurnGymError, ValueError):
    """A setting that is unknown, of the wrong type or out of range."""


class DataError(TurnGymError, ValueError):
    """A data file or row that does not have the stated form; names the file and the line."""


class ContractError(TurnGymError, AssertionError):
    """An environment breaks the contract of TextEnv; lists every violation."""


class UsageError(TurnGymError, RuntimeError):
    """Calls in an order that has no meaning, such as `step` before `reset`."""


class MissingExtraError(TurnGymError, ImportError):
    """An optional dependency is not installed; the message holds the pip line."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed and this feature needs it: pip install 'turngym[{extra}]'"
        )


class ContextOverflow(TurnGymError):
    """The conversation outgrew the model's context; the episode ends with status `truncated`."""


class AgentTimeoutError(TurnGymError):
    """The agent did not answer in its time; the episode ends with status `agent_timeout`."""


class RunStopped(TurnGymError):
    """A training run cannot go on: a full disk, numbers that stay non-finite. Says what is kept."""


class StorageFailure(RunStopped):
    """The disk does not take what a run must write."""


class NotTheAgentsFault(TurnGymError):
    """A failure that must never become a reward: the episode is kept out of loss and baselines."""


class EnvironmentFailure(NotTheAgentsFault):
    """The environment itself broke (status `env_error`)."""


class JudgeFailure(NotTheAgentsFault):
    """A judge gave no usable verdict after its retries (status `judge_error`)."""


class SimulatorFailure(NotTheAgentsFault):
    """A simulated user or tool gave no usable answer (status `simulator_error`)."""


class InfraFailure(NotTheAgentsFault):
    """A server, container or network failed (status `infra_error`)."""


class WorkerLost(InfraFailure):
    """The process or machine that held an environment is gone, and its episode with it."""


class InfraTimeout(NotTheAgentsFault):
    """A server, container or network did not answer in time (status `infra_timeout`)."""


def closest(name: str, known: Iterable[str]) -> str:
    """' Did you mean 'x'?' for the nearest known name, or '' when none is near."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""
