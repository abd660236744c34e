"""check_env: does an environment keep the contract that rollouts, forks and training rely on?"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from turngym.envs.check_rules import RULES, Subject
from turngym.envs.env import TextEnv
from turngym.envs.registry import make as make_registered
from turngym.errors import ContractError, UnknownNameError
from turngym.types import Message

__all__ = ["CheckReport", "Violation", "check_env", "inspect_env"]

Checked = str | TextEnv | Callable[[], TextEnv]


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One broken rule."""

    rule: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What was checked and what was found."""

    checked: tuple[str, ...]
    """Names of the rules."""
    violations: tuple[Violation, ...]


def check_env(
    env: Checked,
    *,
    seed: int = 0,
    replies: Sequence[Message | str] = (),
    max_chars: int = 100_000,
    skip: Collection[str] = (),
) -> CheckReport:
    """A report without violations.

    Args:
        env: an id, a class or function that makes a new environment, or an environment, which is
            forked and stays as it is.
        seed: of the episodes that are played.
        replies: what the agent says, in order; by default samples of the action space.
        max_chars: characters that one observation may hold.
        skip: names of rules to leave out.

    Raises:
        ContractError: lists every violation.

    Example:
        >>> check_env("turngym/WebShop-v0")
    """
    report = inspect_env(env, seed=seed, replies=replies, max_chars=max_chars, skip=skip)
    if report.violations:
        lines = "\n".join(f"  {violation}" for violation in report.violations)
        name = env if isinstance(env, str) else getattr(env, "__name__", type(env).__name__)
        raise ContractError(f"{name} breaks the contract of TextEnv:\n{lines}")
    return report


def inspect_env(
    env: Checked,
    *,
    seed: int = 0,
    replies: Sequence[Message | str] = (),
    max_chars: int = 100_000,
    skip: Collection[str] = (),
) -> CheckReport:
    """As `check_env`, with the violations in the report instead of an error."""
    unknown = sorted(set(skip) - set(RULES))
    if unknown:
        raise UnknownNameError("rule", unknown[0], RULES)

    def make() -> TextEnv:
        if isinstance(env, TextEnv):
            return env.fork()
        return make_registered(env) if isinstance(env, str) else env()

    subject = Subject(
        maker=make,
        seed=seed,
        replies=tuple(replies) or _sampled(make(), seed),
        max_chars=max_chars,
    )
    rules = [name for name in RULES if name not in skip]
    found = [Violation(rule=name, detail=text) for name in rules for text in _run(name, subject)]
    return CheckReport(checked=tuple(rules), violations=tuple(found))


def _run(name: str, subject: Subject) -> list[str]:
    found: list[str] = []
    try:
        for detail in RULES[name](subject):
            if detail not in found:
                found.append(detail)
    except Exception as error:  # whatever a stranger's environment raises is the finding
        found.append(f"raised {type(error).__name__}: {str(error)[:300]}")
    finally:
        subject.close()
    return found


def _sampled(env: TextEnv, seed: int, count: int = 12) -> tuple[Message, ...]:
    env.action_space.seed(seed)
    replies = tuple(env.action_space.sample() for _ in range(count))
    env.close()
    return replies
