"""What a turn did, as plain facts for the record: step rewards are computed from these alone.

They lie in `Turn.info`:

- `named`: files of the repository that the actions name;
- `edits`: replacements asked for, as {path, matches, ok};
- `tests`: {passed, failed} of the turn's last run of the tests by the agent, where there was one;
- `diagnostics`: their number before and after the turn, where the environment counts them.

An agent can print what looks like a test run: rewards from `tests` belong behind a gate.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from turngym.envs.swe.actions import Observed
from turngym.types import ToolCall

__all__ = ["facts_of", "feedback_of", "summary_of"]

_SUMMARY = re.compile(r"^=*\s*((?:\d+ \w+(?:, )?)+) in [\d.]+s", re.MULTILINE)


def facts_of(
    calls: Sequence[ToolCall], observed: Sequence[Observed], paths: Iterable[str], workdir: str
) -> dict[str, Any]:
    """The facts of one turn, JSON-safe.

    Args:
        observed: what the calls did, in order; calls after a submission were not made.
        paths: files that the repository began with.
        workdir: its folder, which actions may write before a path.
    """
    made = list(zip(calls, observed, strict=False))
    said = " ".join(json.dumps(dict(call.arguments), ensure_ascii=False) for call, _ in made)
    said = said.replace(f"{workdir}/", "").replace("./", "")
    facts: dict[str, Any] = {
        "named": sorted(path for path in paths if _names(said, path)),
        "edits": [
            {"path": item.edit.path, "matches": item.edit.matches, "ok": item.edit.ok}
            for _, item in made
            if item.edit is not None
        ],
    }
    runs = [summary_of(item.text) for call, item in made if _runs_tests(call)]
    if found := [run for run in runs if run is not None]:
        facts["tests"] = {"passed": found[-1][0], "failed": found[-1][1]}
    return facts


def summary_of(output: str) -> tuple[int, int] | None:
    """How many tests passed, and how many failed or broke, by pytest's last summary line."""
    lines = _SUMMARY.findall(output)
    if not lines:
        return None
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", lines[-1])}
    failed = sum(counts.get(word, 0) for word in ("failed", "error", "errors"))
    passed = counts.get("passed", 0)
    return (passed, failed) if passed + failed else None


def feedback_of(observed: Sequence[Observed], facts: Mapping[str, Any]) -> str:
    """A sentence or two about the turn, for policies and judges that read feedback."""
    failed = [item for item in observed if not item.ok]
    parts = [f"{len(observed) - len(failed)} of {len(observed)} actions worked"]
    parts += [f"an action failed: {item.text.strip()[:200]}" for item in failed[:1]]
    if tests := facts.get("tests"):
        parts.append(f"tests: {tests['passed']} passed, {tests['failed']} failed")
    if counts := facts.get("diagnostics"):
        parts.append(f"diagnostics: {counts[0]} before, {counts[1]} after")
    return "; ".join(parts)


def _names(said: str, path: str) -> bool:
    """Whether `path` stands in a text as a whole, not as the end or the beginning of another."""
    return re.search(rf"(?<![\w./-]){re.escape(path)}(?![\w/-]|\.\w)", said) is not None


def _runs_tests(call: ToolCall) -> bool:
    return call.name == "run_tests" or "pytest" in str(call.arguments.get("command", ""))
