"""turngym/SWE-v0: resolve an issue in a small repository inside a Docker container.

Outcome: the four ordered levels of G-RA (arXiv 2508.10548, section on SWE; the paper's numbers are
not public, ours are settings): not submitted < empty patch < tests fail < tests pass.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from turngym.envs.canonical import digest
from turngym.envs.env import EnvState, Observation, StepResult, TextEnv
from turngym.envs.sandbox import Limits, SandboxSpec, Snapshot
from turngym.envs.sandbox.archive import pack, tree
from turngym.envs.sandbox.docker_sandbox import DockerSandbox, image_seed
from turngym.envs.swe.actions import Observed
from turngym.envs.swe.bundled import bundled_tasks
from turngym.envs.swe.bundled.expert import expert_reply
from turngym.envs.swe.difference import patch_between
from turngym.envs.swe.evaluate import EvalSettings, evaluate, spec_of
from turngym.envs.swe.facts import facts_of, feedback_of
from turngym.envs.swe.patches import files_of
from turngym.envs.swe.predictions import Prediction
from turngym.envs.swe.presets import PRESETS, PresetName
from turngym.envs.swe.scrub import scrub
from turngym.envs.swe.tasks import Task, read_tasks
from turngym.envs.swe.verdict import InstanceResult, Verdict
from turngym.errors import ConfigError, InfraFailure, UnknownNameError
from turngym.types import Message, Privileged, TurnStatus, system, user

__all__ = ["SWE", "Levels"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Outcome by how far an episode came."""

    not_submitted: float = 0.0
    empty: float = 0.1
    failing: float = 0.2
    passing: float = 1.0


class SWE(TextEnv):
    """Fix an issue in a repository, in a sandbox that has no network.

    Args:
        tasks: a file of task rows, `bundled` (all 30), `tiny` (ten small ones), or the tasks.
        actions: `bash` (one command block a turn), `tools` (tool calls) or `xml` (R2E-Gym's form).
        max_turns: turns before the episode is cut off, unsubmitted.
        diagnose: a shell command whose output lines are counted after every turn, such as
            `ruff check -q --output-format concise .` in an image that has ruff; "" counts nothing.
        evaluation: how a submission is graded; its limits hold for the agent's sandbox too.
        on_result: called with each evaluation, to write its report.

    Observations are cut to 10,000 characters at both ends. `info["rewards"]` has `format` (the reply
    could be read) and `tool` (the actions worked), each 0 or 1, `info["feedback"]` says it in words,
    and the other facts of a turn (`turngym.envs.swe.facts`) feed the step rewards of
    `turngym.rewards.swe`. The reward is the outcome, at the end.

    Example:
        >>> env = turngym.make("turngym/SWE-v0", actions="bash")
    """

    shared: ClassVar[frozenset[str]] = frozenset(
        {
            "_tasks",
            "actions",
            "diagnose",
            "evaluation",
            "levels",
            "on_result",
            "_box",
            "_box_owner",
            "_paths",
            "_start",
        }
    )
    max_turns = 30

    def __init__(
        self,
        *,
        tasks: str | Sequence[Task] = "bundled",
        actions: PresetName = "tools",
        max_turns: int | None = None,
        diagnose: str = "",
        evaluation: EvalSettings | None = None,
        on_result: Callable[[Task, InstanceResult], None] | None = None,
    ) -> None:
        super().__init__(max_turns=max_turns)
        if actions not in PRESETS:
            raise ConfigError(f"actions must be one of {', '.join(PRESETS)}, got {actions!r}")
        self.actions: PresetName = actions
        self.tools = PRESETS[actions].tools
        self.diagnose, self.on_result = diagnose, on_result
        small = Limits(memory_mb=1024, disk_mb=128)
        self.evaluation = evaluation or EvalSettings(timeout_s=60, limits=small)
        self.levels = Levels()
        self._bundled = tasks in ("bundled", "tiny")
        if isinstance(tasks, str):
            tasks = bundled_tasks(tasks) if self._bundled else read_tasks(tasks)
        self._tasks: Mapping[str, Task] = {task.instance_id: task for task in tasks}
        self._box: DockerSandbox | None = None
        self._box_owner = 0
        self._start: Snapshot | None = None
        self._paths: tuple[str, ...] = ()
        self._tree: Snapshot | None = None
        self._task_id = ""
        self._diagnostics = 0

    def tasks(self, split: str = "train") -> Sequence[str]:
        """Ids of `train` (four in five, chosen by a hash of the id) or `test`.

        Raises:
            ConfigError: another split.
        """
        if split not in ("train", "test"):
            raise ConfigError(f"the splits are 'train' and 'test', got {split!r}")
        return tuple(name for name in self._tasks if _in_test(name) == (split == "test"))

    @property
    def privileged(self) -> Privileged:
        """The reference fix, and under `files` the paths that it changes."""
        if not self._task_id:
            return Privileged()
        task = self._tasks[self._task_id]
        fix = task.gold_patch or task.bug_patch
        return Privileged(references=(fix,), hidden_state={"files": list(files_of(fix))})

    @property
    def has_expert(self) -> bool:
        """Bundled tasks in the bash preset have one."""
        return self._bundled and self.actions == "bash"

    def expert(
        self, messages: Sequence[Message], *, noise: float = 0.0, seed: int = 0
    ) -> Message | str:
        """Look at the file, put the wrong lines right, submit. A mistake changes other lines."""
        return expert_reply(messages, PRESETS[self.actions], noise=noise, seed=seed)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """The rules and the issue.

        Args:
            options: `task_id`, or the `split` to draw from ("train").

        Raises:
            ConfigError: unknown split.
            UnknownNameError: `options["task_id"]` names no task.
            InfraFailure: no Docker daemon, or the image is missing.
        """
        wanted = (options or {}).get("task_id")
        ids = self.tasks((options or {}).get("split", "train"))
        if wanted is not None and wanted not in self._tasks:
            raise UnknownNameError("SWE task", str(wanted), self._tasks)
        self._task_id = str(wanted) if wanted else ids[int(self.np_random.integers(len(ids)))]
        self._start = self._tree = _seed(self._tasks[self._task_id], self._spec())
        box = self._sandbox(fresh=True)
        task = self._tasks[self._task_id]
        if task.files is None:
            scrub(box)
            self._tree = self._start = box.snapshot()
        self._paths = tuple(sorted(tree(self._start.archive)))
        self._diagnostics = self._count_diagnostics(box)
        info = {"task_id": self._task_id, "anchor": self._start.tree_hash}
        rules = PRESETS[self.actions].rules
        return (system(rules), user(f"Issue:\n{task.problem_statement}")), info

    def step(self, action: Message) -> StepResult:
        """Run the reply's actions; a submission ends the episode with its outcome."""
        preset, box = PRESETS[self.actions], self._sandbox()
        calls = preset.read(action)
        if not calls:
            return self._refused(preset.wanted)
        observed: list[Observed] = []
        for call in calls:
            observed.append(preset.run(box, call))
            if observed[-1].submitted or observed[-1].died:
                break
        shown = [preset.show(item, call) for item, call in zip(observed, calls, strict=False)]
        info = facts_of(calls, observed, self._paths, box.spec.workdir)
        if self.diagnose and not observed[-1].died:
            before, self._diagnostics = self._diagnostics, self._count_diagnostics(box)
            info["diagnostics"] = [before, self._diagnostics]
        info["rewards"] = {"format": 1.0, "tool": float(all(item.ok for item in observed))}
        info["feedback"] = feedback_of(observed, info)
        if observed[-1].submitted:
            return self._submitted(shown, info)
        if observed[-1].died:
            info |= {"outcome": self.levels.not_submitted, "feedback": "the sandbox was destroyed"}
            return tuple(shown), self.levels.not_submitted, True, False, info
        return self._go_on(shown, info)

    def get_state(self) -> EnvState:
        """The files as they are now; live processes are not captured."""
        if self._box is not None and self._box_owner == id(self):
            self._tree = self._box.snapshot()
        return super().get_state()

    def set_state(self, state: EnvState) -> None:
        """Continue from `state`, in a sandbox that holds its files."""
        super().set_state(state)
        if self._box is not None and self._box_owner != id(self):
            self._box = None  # the original's: a fork starts its own when it first acts
        elif self._box is not None and self._tree is not None:
            self._box.restore(self._tree)

    def __getstate__(self) -> dict[str, Any]:
        """For pickling: the files travel, the container does not."""
        if self._box is not None and self._box_owner == id(self):
            self._tree = self._box.snapshot()
        return {**self.__dict__, "_box": None}

    def fingerprint(self) -> str:
        """Of task, files and turn."""
        tree = self._box.snapshot() if self._box and self._box_owner == id(self) else self._tree
        return digest((self._task_id, self.turn, tree.tree_hash if tree else ""))

    def close(self) -> None:
        """Remove the sandbox."""
        if self._box is not None and self._box_owner == id(self):
            self._box.close()
        self._box = None

    def _spec(self) -> SandboxSpec:
        return spec_of(self._tasks[self._task_id], self.evaluation.limits)

    def _sandbox(self, fresh: bool = False) -> DockerSandbox:
        """The own sandbox, warm where possible, filled with the episode's files."""
        own = self._box is not None and self._box_owner == id(self)
        box = self._box if own else None
        assert self._tree is not None
        if box is not None and (box.spec != self._spec() or (fresh and not box.alive)):
            box.close()
            box = None
        if box is None:
            box, self._box_owner = DockerSandbox(self._spec(), self._tree), id(self)
            self._box = box
        elif fresh:
            box.restore(self._tree)
        return box

    def _go_on(self, shown: list[Message], info: dict[str, Any]) -> StepResult:
        if self.max_turns is not None and self.turn + 1 >= self.max_turns:
            info["outcome"] = self.levels.not_submitted
            return tuple(shown), self.levels.not_submitted, False, True, info
        return tuple(shown), 0.0, False, False, info

    def _count_diagnostics(self, box: DockerSandbox) -> int:
        """Lines that `diagnose` prints; 0 where nothing is counted."""
        if not self.diagnose:
            return 0
        return sum(bool(line.strip()) for line in box.exec(self.diagnose).text.splitlines())

    def _refused(self, wanted: str) -> StepResult:
        text = f"error: a reply holds {wanted}"
        info: dict[str, Any] = {
            "rewards": {"format": 0.0, "tool": 0.0},
            "status": TurnStatus.INVALID_ACTION,
            "feedback": text,
        }
        if self.diagnose:
            info["diagnostics"] = [self._diagnostics, self._diagnostics]
        return self._go_on([user(text)], info)

    def _submitted(self, shown: list[Message], info: dict[str, Any]) -> StepResult:
        assert self._start is not None
        patch = patch_between(self._start, self._sandbox().snapshot())
        outcome = self.levels.empty
        info["patch"], info["verdict"] = patch, Verdict.EMPTY_PATCH.value
        if patch:
            task = self._tasks[self._task_id]
            answer = Prediction(instance_id=task.instance_id, patch=patch, model="agent")
            result = evaluate(task, answer, self.evaluation, self._start)
            if self.on_result is not None:
                self.on_result(task, result)
            if result.verdict in (Verdict.INFRA_FAILURE, Verdict.AMBIGUOUS):
                raise InfraFailure(f"evaluating {task.instance_id}: {result.reason}")
            solved = result.verdict is Verdict.RESOLVED
            outcome = self.levels.passing if solved else self.levels.failing
            info["verdict"] = result.verdict.value
            info["feedback"] += f"; the verdict is {result.verdict.value} {result.reason}".rstrip()
        info |= {"outcome": outcome, "success": outcome == self.levels.passing}
        return tuple(shown), outcome, True, False, info


def _seed(task: Task, spec: SandboxSpec) -> Snapshot:
    if task.files is None:
        return image_seed(spec)
    archive = pack({path: text.encode() for path, text in task.files.items()})
    return Snapshot(image=task.image, workdir=task.workdir, archive=archive)


def _in_test(name: str) -> bool:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 5 == 0
