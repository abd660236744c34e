"""Runs on disk, made by hand: what `turngym train` leaves behind, without training."""

import json

from typer.testing import CliRunner

from turngym.cli import app
from turngym.serial import TrajectoryWriter
from turngym.types import (
    Completion,
    EpisodeStatus,
    ToolCall,
    Trajectory,
    Turn,
    assistant,
    tool,
    user,
)

CONFIG = {
    "env": {"id": "test/Shop-v0"},
    "policy": {"path": "tiny:web_shop"},
    "credit": {"method": "grpo"},
    "seed": 0,
}


def episode(name, outcome=1.0, *, task="t", group="g", replies=("click[a]", "click[b]"), **fields):
    """A trajectory with ids, so that credit can be worked out."""
    turns = tuple(
        Turn(
            seen=(user(f"page {index} of {name}"),),
            completion=Completion(
                message=assistant(reply),
                new_prompt_ids=[1, 2],
                reply_ids=[5, 6, 7],
                reply_logprobs=[-0.5, -1.0, -0.25],
                opens_segment=index == 0,
            ),
        )
        for index, reply in enumerate(replies)
    )
    given = {
        "env_id": "test/Shop-v0",
        "task_id": task,
        "episode": name,
        "seed": 2**62 + 1,
        "group": group,
        "turns": turns,
        "status": EpisodeStatus.TERMINATED,
        "outcome": outcome,
        "success": outcome == 1.0,
    }
    return Trajectory(**{**given, **fields})


def tool_episode(name="tools/0"):
    """One with reasoning, tool calls, answers and a closing message."""
    call = ToolCall(id="c1", name="search", arguments={"query": "red shoes", "limit": 3})
    said = assistant("Let me look.", [call])
    said = type(said)(role="assistant", content="Let me look.", reasoning="hm", tool_calls=(call,))
    return Trajectory(
        env_id="test/Tools-v0",
        task_id="tools-7",
        episode=name,
        seed=3,
        group="tools",
        turns=(
            Turn(seen=(user("Find shoes."),), completion=Completion(message=said)),
            Turn(
                seen=(tool("No results found", "c1", "search"),),
                completion=Completion(message=assistant("There are none.")),
                reward=-0.5,
                rewards={"format": 1.0},
                exchange=0,
                info={"page": [1, {"deep": None}]},
            ),
        ),
        status=EpisodeStatus.TERMINATED,
        closing=(user("Thanks."),),
        tools=({"type": "function", "function": {"name": "search", "parameters": {}}},),
        outcome=0.0,
        success=False,
    )


def line(step, trajectories, **metrics):
    """A line of metrics.jsonl."""
    counted = [t for t in trajectories if t.status.counts]
    return {
        "step": step,
        "loss": 0.5,
        "grad_norm": 1.0,
        "learning_rate": 1e-3,
        "num_tokens": 600,
        "num_turns": 8,
        "policy_version": step,
        "skipped": False,
        "metrics": {
            "success": sum(bool(t.success) for t in counted) / max(len(counted), 1),
            "outcome": sum(t.outcome for t in counted) / max(len(counted), 1),
            "turns": 2.0,
            "entropy": 0.3,
            "kl_old": 0.01,
            "clip_fraction": 0.1,
            "invalid_actions": 0.0,
            "status/terminated": float(len(counted)),
            **metrics,
        },
    }


def interval(value):
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def write_run(folder, steps, *, evaluations=None, config=None):
    """A run's folder.

    Args:
        folder: where.
        steps: a list of trajectories for each step.
        evaluations: trajectories by file label, such as `000002-after-1`.
        config: changes to CONFIG.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **(config or {})}))
    for step, trajectories in enumerate(steps):
        write(folder / f"trajectories/step-{step:06d}.jsonl", trajectories)
        append(folder / "metrics.jsonl", line(step, trajectories))
        append(folder / "timings.jsonl", {"step": step, "rollout": 1.0, "update": 2.0})
    for label, trajectories in (evaluations or {}).items():
        write(folder / f"trajectories/evaluation-{label}.jsonl", trajectories)
        step, _, name = label.partition("-")
        share = sum(bool(t.success) for t in trajectories) / len(trajectories)
        row = {"step": int(step), "label": name, "success": interval(share)}
        row |= {"outcome": interval(share), "turns": 2.0, "statuses": {"terminated": 1}}
        append(folder / "evaluations.jsonl", row)
    return folder


def write(path, trajectories):
    with TrajectoryWriter(path) as writer:
        for trajectory in trajectories:
            writer.write(trajectory)


def append(path, data):
    with path.open("a") as file:
        file.write(json.dumps(data) + "\n")


def group(name, outcomes, **fields):
    """One group: a trajectory per outcome."""
    return [
        episode(f"{name}/{i}", outcome, group=name, task=f"task-{name}", **fields)
        for i, outcome in enumerate(outcomes)
    ]


def small_run(folder):
    """Two steps of a group each, and one evaluation."""
    return write_run(
        folder,
        [group("0/0", [1.0, 0.0, 1.0, 0.0]), group("1/0", [1.0, 1.0, 1.0, 0.5])],
        evaluations={"000002-after-1": [episode("test-0/0", 1.0, task="x", group="test-0")]},
    )


def command(*arguments):
    """The finished command line."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def by_name(found):
    """Curves by their names."""
    return {curve.name: curve for curve in found}
