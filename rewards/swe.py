"""Rewards of software-engineering episodes, from the facts that SWE-v0 records with each turn.

Step rewards are easy to collect without solving anything, so they belong behind the outcome:

    Rubric(terms=gated_steps(Weighted(reward=swe_localisation, weight=0.1), threshold=0.2))
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from turngym.errors import JudgeFailure
from turngym.rewards.gated import Gate, Gated
from turngym.rewards.potential import Potential
from turngym.rewards.recorded import outcome
from turngym.rewards.reward import REWARDS, Reward, reward, trajectory_value
from turngym.rewards.rubric import Weighted
from turngym.types import Trajectory, Turn

__all__ = [
    "DiagnosticDelta",
    "ThreeBranch",
    "gated_steps",
    "swe_format",
    "swe_localisation",
    "swe_tests",
    "swe_tool",
]


@reward("swe_format", level="turn")
def swe_format(trajectory: Trajectory) -> tuple[float | None, ...]:
    """1 where the reply could be read as an action, else 0."""
    return tuple(turn.rewards.get("format") for turn in trajectory.turns)


@reward("swe_tool", level="turn")
def swe_tool(trajectory: Trajectory) -> tuple[float | None, ...]:
    """1 where all actions of the turn worked, else 0."""
    return tuple(turn.rewards.get("tool") for turn in trajectory.turns)


@reward("swe_localisation", level="turn")
def swe_localisation(trajectory: Trajectory) -> tuple[float | None, ...]:
    """The share of the files to change that the turn's actions name for the first time.

    Adds up to at most 1 over an episode. None throughout where the files to change are not known.
    """
    wanted = set((trajectory.privileged.hidden_state or {}).get("files", ()))
    if not wanted:
        return (None,) * len(trajectory.turns)
    values, found = [], set[str]()
    for turn in trajectory.turns:
        new = wanted & set(turn.info.get("named", ())) - found
        values.append(len(new) / len(wanted))
        found |= new
    return tuple(values)


def _share_passing(trajectory: Trajectory) -> tuple[float, ...]:
    """The share of tests passing at the agent's last run so far; before the first run, at that one."""
    shares: list[float | None] = [None]
    for turn in trajectory.turns:
        run = turn.info.get("tests")
        total = run["passed"] + run["failed"] if run else 0
        shares.append(run["passed"] / total if run and total else shares[-1])
    first = next((share for share in shares if share is not None), 0.0)
    return tuple(first if share is None else share for share in shares)


swe_tests: Potential = Potential(name="swe_tests", potentials=_share_passing)
"""How much larger the share of passing tests is than at the agent's run before: the sum over an
episode is last minus first, so running the tests again and again earns nothing."""

REWARDS.add("swe_tests", swe_tests)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosticDelta:
    """Process reward from diagnostics (Lanser-CLI, arXiv 2510.22907, eq. 5.1).

        r_t = removed (D_{t-1} - D_t) + applied S_t - ambiguous (1 - c_t)

    D is the number of diagnostics, S_t is 1 where the turn edits and every edit is applied, and c_t is
    the confidence of its selectors: 1 / number of places where the text to replace occurs (0 for
    none), the smallest of the turn; 1 in a turn without edits. The paper claims r_t >= 0, which fails
    for an ambiguous edit. None where the environment did not count (`SWE(diagnose=...)`).
    """

    removed: float = 0.5
    applied: float = 0.4
    ambiguous: float = 0.1

    name: str = "diagnostic_delta"

    @property
    def level(self) -> Literal["turn"]:
        """One value per turn."""
        return "turn"

    def __call__(self, trajectory: Trajectory) -> tuple[float | None, ...]:
        return tuple(self._of(turn) for turn in trajectory.turns)

    def _of(self, turn: Turn) -> float | None:
        counts = turn.info.get("diagnostics")
        if counts is None:
            return None
        edits: Sequence[Any] = turn.info.get("edits", ())
        safe = bool(edits) and all(edit["ok"] for edit in edits)
        sure: float = min(
            (1 / edit["matches"] if edit["matches"] else 0.0 for edit in edits), default=1.0
        )
        before, after = counts
        value = self.removed * (before - after) + self.applied * safe
        return float(value - self.ambiguous * (1.0 - sure))


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreeBranch:
    """SWE-RM's hybrid outcome (arXiv 2512.21919): 1 + s resolved, -0.5 + s unfinished, s otherwise.

    s in [0, 1] is a learned scorer's probability that the episode solves its task; without a scorer
    it is 0. Unfinished means that nothing was submitted.
    """

    score: Reward | None = None
    """A trajectory-level reward."""
    unfinished: float = -0.5
    name: str = "three_branch"

    @property
    def level(self) -> Literal["trajectory"]:
        """One number per episode."""
        return "trajectory"

    def __call__(self, trajectory: Trajectory) -> float:
        score = 0.0 if self.score is None else trajectory_value(self.score, trajectory)
        if not 0 <= score <= 1:
            raise JudgeFailure(f"{self.name}: a score lies in [0, 1], got {score}")
        if trajectory.success:
            return 1.0 + score
        submitted = bool(trajectory.turns) and "verdict" in trajectory.turns[-1].info
        return score if submitted else self.unfinished + score


def gated_steps(
    *steps: Weighted, threshold: float, comparator: Literal[">=", ">"] = ">="
) -> tuple[Weighted, ...]:
    """Terms of a rubric: the outcome, and step rewards that count only behind it (G-RA).

    With SWE-v0's levels (0 not submitted, 0.1 empty patch, 0.2 tests fail, 1 tests pass) the paper's
    gate lies between empty and failing: threshold 0.2 with `>=`. One account of the paper opens it
    only for passing patches: 0.2 with `>`. Each step reward is recorded ungated as well, with weight 0.
    """
    gate = Gate(reward=outcome, threshold=threshold, comparator=comparator)
    gated = [Weighted(reward=Gated(reward=s.reward, gates=(gate,)), weight=s.weight) for s in steps]
    bare = [Weighted(reward=step.reward, weight=0.0) for step in steps]
    return (Weighted(reward=outcome), *gated, *bare)
