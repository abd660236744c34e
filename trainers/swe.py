"""`turngym swe run`: an agent plays task rows; its patches are graded, its trajectories kept.

Grading happens where the agent submits, so every answer is tested once. What a folder holds:

    trajectories.jsonl                    one line per finished episode
    predictions.jsonl                     its patches in SWE-bench's form, for `swe eval`
    logs/run_evaluation/RUN/MODEL/TASK/   report.json and test_output.txt
    MODEL.RUN.json                        the run's report
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turngym.agents.load import load_agent
from turngym.agents.scripted import ScriptedAgent
from turngym.envs.env import TextEnv
from turngym.envs.fleet.cluster import RayWorkers
from turngym.envs.fleet.env import environments
from turngym.envs.swe.env import SWE
from turngym.envs.swe.evaluate import EvalSettings
from turngym.envs.swe.predictions import Prediction, write_predictions
from turngym.envs.swe.presets import PRESETS, PresetName
from turngym.envs.swe.run import folder_of, read_reports, write_report, write_run_report
from turngym.envs.swe.tasks import Task
from turngym.envs.swe.verdict import InstanceResult, Verdict
from turngym.errors import ConfigError
from turngym.seeding import derive
from turngym.serial import TrajectoryWriter, read_jsonl
from turngym.trainers.expert import expert_script
from turngym.trainers.rollout import Group, RolloutConfig, rollout
from turngym.types import Agent, Context, Message, Sampling, Trajectory

__all__ = ["AgentRun", "gold_agent", "load_player", "run_agent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRun:
    """How an agent is run over tasks."""

    out: Path
    model: str
    """Its name in reports."""
    run_id: str = "run"
    workers: int | RayWorkers = 1
    """Episodes at a time: in this process, or each in a worker of a cluster whose nodes have Docker."""
    resume: bool = False
    """Keep finished episodes of a former run; those that broke through no fault of the agent are
    played again."""
    actions: PresetName = "tools"
    max_turns: int = 30
    seed: int = 0
    sampling: Sampling = Sampling(temperature=0.0, max_new_tokens=2048)
    evaluation: EvalSettings = EvalSettings()


def run_agent(
    tasks: Sequence[Task],
    agent: Agent,
    settings: AgentRun,
    progress: Callable[[Trajectory, str], None] = lambda trajectory, verdict: None,
) -> Mapping[str, Any]:
    """Play every task once; gives the run report of SWE-bench's form.

    Args:
        tasks: what to play, and what the report counts.
        progress: called with each finished episode and its verdict.

    Raises:
        ConfigError: `out` holds a run already and `resume` is off.
    """
    file = settings.out / "trajectories.jsonl"
    if file.exists() and not settings.resume:
        raise ConfigError(f"{settings.out} holds a run already: choose another --out, or --resume")
    folder = folder_of(settings.out, settings.run_id, settings.model)
    done = {t.task_id: t for t in (read_jsonl(file) if file.exists() else ()) if t.status.counts}
    graded: set[str] = set()

    def keep(result: InstanceResult) -> None:
        graded.add(result.instance_id)
        write_report(folder, result)

    make = _environments(tasks, settings, keep)
    todo = [task.instance_id for task in tasks if task.instance_id not in done]
    with TrajectoryWriter(file) as writer:

        def finished(trajectory: Trajectory) -> None:
            writer.write(trajectory)
            done[trajectory.task_id] = trajectory
            if trajectory.task_id not in graded:
                write_report(folder, _ungraded(trajectory, settings.model))
            progress(trajectory, _verdict_of(trajectory))

        groups = [_group(task, settings) for task in todo]
        rollout(make, agent, groups, _budgets(settings), on_episode=finished)
    return _reported(settings, folder, [t.instance_id for t in tasks], done)


def _environments(
    tasks: Sequence[Task], settings: AgentRun, keep: Callable[[InstanceResult], None]
) -> Callable[[], TextEnv]:
    """What makes environments, here or on a cluster; `keep` gets their results here."""

    def make(tell: Callable[[InstanceResult], None]) -> TextEnv:
        return SWE(
            tasks=tasks,
            actions=settings.actions,
            max_turns=settings.max_turns,
            evaluation=settings.evaluation,
            on_result=lambda _, result: tell(result),
        )

    if isinstance(settings.workers, RayWorkers):
        return environments(settings.workers, make, keep)
    return lambda: make(keep)


def _group(task_id: str, settings: AgentRun) -> Group:
    """One episode of a task; its key lets scripted agents know which."""
    return Group(
        key=task_id,
        seed=derive(settings.seed, task_id),
        task_id=task_id,
        sampling=settings.sampling,
    )


def _budgets(settings: AgentRun) -> RolloutConfig:
    """A step may hold a whole evaluation: two graders, and time to start."""
    where = settings.workers
    return RolloutConfig(
        concurrency=where.count if isinstance(where, RayWorkers) else where,
        deterministic=False,
        step_timeout_s=3 * settings.evaluation.timeout_s + 120,
        episode_timeout_s=24 * 3600.0,
    )


def _reported(
    settings: AgentRun, folder: Path, ids: Sequence[str], done: Mapping[str, Trajectory]
) -> Mapping[str, Any]:
    """Write predictions and the run's report; gives the report."""
    answers = [_prediction(done[task], settings.model) for task in ids if task in done]
    write_predictions(answers, settings.out / "predictions.jsonl")
    reports = {task: body for task, body in read_reports(folder).items() if task in set(ids)}
    return write_run_report(settings.out, settings.run_id, settings.model, reports, ids)


def load_player(spec: str, tasks: Sequence[Task], actions: PresetName, seed: int = 0) -> Agent:
    """The agent that `spec` names: `gold`, `expert`, `expert:NOISE`, or as `load_agent` takes it.

    Raises:
        ConfigError: no such agent, or the tasks have no reference fix or expert.
    """
    if spec == "gold":
        return gold_agent(tasks, actions)
    kind, _, noise = spec.partition(":")
    if kind != "expert":
        return load_agent(spec)
    try:
        chance = float(noise or 0)
    except ValueError:
        raise ConfigError(f"expert:NOISE takes a number from 0 to 1, got {noise!r}") from None
    return ScriptedAgent(expert_script(SWE(actions=actions), noise=chance, seed=seed))


def gold_agent(tasks: Sequence[Task], actions: PresetName) -> Agent:
    """Applies each task's reference fix and submits: shows that environment and graders work.

    Raises:
        ConfigError: a task has no reference fix.
    """
    fixes: dict[str, tuple[str, str]] = {}
    for task in tasks:
        if not (task.gold_patch or task.bug_patch):
            raise ConfigError(f"{task.instance_id} has no reference fix ({task.form})")
        fixes[task.instance_id] = (task.gold_patch, task.bug_patch)
    preset = PRESETS[actions]

    def script(context: Context) -> Message:
        fix, bug = fixes[context.episode.rpartition("/")[0]]
        if context.turns:
            return preset.submit
        option = " --reverse" if bug else ""
        return preset.command(f"git apply{option} - <<'END_OF_FIX'\n{bug or fix}\nEND_OF_FIX")

    return ScriptedAgent(script)


def _verdict_of(trajectory: Trajectory) -> str:
    """The verdict, or how the episode ended where there is none."""
    if trajectory.turns and "verdict" in trajectory.turns[-1].info:
        return str(trajectory.turns[-1].info["verdict"])
    return trajectory.status.value


def _ungraded(trajectory: Trajectory, model: str) -> InstanceResult:
    """The result of an episode in which nothing was graded: no answer, or something broke."""
    broke = not trajectory.status.counts
    return InstanceResult(
        instance_id=trajectory.task_id,
        model=model,
        verdict=Verdict.INFRA_FAILURE if broke else Verdict.EMPTY_PATCH,
        patch_exists=False,
        reason=trajectory.error if broke else f"the episode ended as {trajectory.status.value}",
    )


def _prediction(trajectory: Trajectory, model: str) -> Prediction:
    patch = trajectory.turns[-1].info.get("patch") if trajectory.turns else None
    return Prediction(instance_id=trajectory.task_id, patch=patch, model=model)
