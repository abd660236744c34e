"""Evaluations inside a run: the policy before, during and after, and the expert as the mark."""

from __future__ import annotations

from collections.abc import Callable

from turngym.agents.scripted import ScriptedAgent
from turngym.trainers.evaluate import Evaluation, evaluate
from turngym.trainers.expert import expert_script
from turngym.trainers.policy import Policy
from turngym.trainers.run import Run
from turngym.types import Agent

__all__ = ["examine", "examine_expert", "stalled"]


def examine_expert(run: Run, report: Callable[[str], None]) -> None:
    """Log what the environment's scripted expert, if it has one, makes of the held-out tasks."""
    guide = run.config.env.make()
    if not run.config.evaluation.episodes or not guide.has_expert:
        return
    found = _play(run, ScriptedAgent(expert_script(guide)), 1.0, "expert")
    run.log_evaluation(0, "expert", found)
    report(f"scripted expert: held-out success {found.success}")


def examine(run: Run, policy: Policy, step: int, label: str, report: Callable[[str], None]) -> None:
    """Log what the policy, published before, makes of the held-out tasks at each temperature."""
    config = run.config
    if not config.evaluation.episodes:
        return
    report(f"playing {config.evaluation.episodes} held-out tasks ...")
    for temperature in config.evaluation.temperatures:
        found = _play(run, policy.agent, temperature, f"{step:06d}-{label}-{temperature:g}")
        run.log_evaluation(step, f"{label}-{temperature:g}", found)
        report(f"{label} at temperature {temperature:g}: held-out success {found.success}")


def stalled(run: Run) -> bool:
    """Whether the last `evaluation.patience` evaluations while training were no better than one
    before them: early stopping, on held-out success at the first temperature."""
    config = run.config.evaluation
    if not config.patience or not config.temperatures:
        return False
    labels = [f"{label}-{config.temperatures[0]:g}" for label in ("before", "during")]
    values = [row["success"]["value"] for row in run.evaluations() if row["label"] in labels]
    recent = values[-config.patience :]
    return len(values) > config.patience and max(recent) <= max(values[: -config.patience])


def _play(run: Run, agent: Agent, temperature: float, name: str) -> Evaluation:
    config = run.config
    with run.trajectories(f"evaluation-{name}") as writer:
        return evaluate(
            config.env.make,
            agent,
            split=config.evaluation.split,
            episodes=config.evaluation.episodes,
            sampling=config.sampling.sampling(temperature=temperature),
            attempts=config.evaluation.attempts,
            seed=config.seed,
            config=config.rollout,
            on_episode=writer.write,
        )
