"""Is a task fit for use: its reference fix resolves it, and the unchanged repository does not."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal

from turngym.envs.swe.evaluate import EvalSettings, evaluate
from turngym.envs.swe.predictions import Prediction, reference_predictions
from turngym.envs.swe.tasks import Task
from turngym.envs.swe.verdict import Verdict
from turngym.errors import InfraFailure

__all__ = ["Check", "validate_tasks"]

# An empty patch is never run, so doing nothing is a patch that adds an unrelated file.
_NOTHING = """diff --git a/turngym-did-nothing.txt b/turngym-did-nothing.txt
new file mode 100644
--- /dev/null
+++ b/turngym-did-nothing.txt
@@ -0,0 +1 @@
+nothing
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What validation found for one task."""

    instance_id: str
    outcome: Literal["valid", "invalid", "flaky"]
    reason: str = ""


def validate_tasks(
    tasks: Sequence[Task],
    *,
    workers: int = 1,
    repeat: int = 1,
    settings: EvalSettings | None = None,
) -> tuple[Check, ...]:
    """One check per task, in order.

    Raises:
        InfraFailure: a sandbox broke, so nothing can be said about the task.
    """
    with ThreadPoolExecutor(max_workers=workers) as pool:
        return tuple(pool.map(partial(_check, repeat=repeat, settings=settings), tasks))


def _check(task: Task, repeat: int, settings: EvalSettings | None) -> Check:
    (gold,) = reference_predictions((task,), "gold")
    nothing = Prediction(instance_id=task.instance_id, patch=_NOTHING, model="nothing")
    fixed = [_verdict(task, gold, settings) for _ in range(repeat)]
    left = [_verdict(task, nothing, settings) for _ in range(repeat)]
    if len(set(fixed)) > 1 or len(set(left)) > 1:
        outcome: Literal["valid", "invalid", "flaky"] = "flaky"
    elif fixed[0] is Verdict.RESOLVED and left[0] is Verdict.UNRESOLVED:
        return Check(instance_id=task.instance_id, outcome="valid")
    else:
        outcome = "invalid"
    names = [", ".join(sorted({v.value for v in verdicts})) for verdicts in (fixed, left)]
    reason = f"the reference fix is {names[0]}, doing nothing is {names[1]}"
    return Check(instance_id=task.instance_id, outcome=outcome, reason=reason)


def _verdict(task: Task, prediction: Prediction, settings: EvalSettings | None) -> Verdict:
    result = evaluate(task, prediction, settings)
    if result.verdict is Verdict.INFRA_FAILURE:
        raise InfraFailure(f"{task.instance_id}: {result.reason}")
    return result.verdict
