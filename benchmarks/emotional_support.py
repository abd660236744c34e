"""Emotional support: steps a second, forks, agreement with hand grades, what scripts reach.

    python benchmarks/emotional_support.py        # about half a minute on one core

Prints the figures and writes them to benchmarks/results/emotional_support.json. There is no peer to time:
the published simulators (SAGE, RLVER, EMPA) answer each turn with two to four calls of a language model.
"""

from __future__ import annotations

import asyncio
import json
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import turngym
from turngym.envs.emotional_support.env import EmotionalSupport
from turngym.envs.emotional_support.expert import Supporter, careless
from turngym.envs.emotional_support.llm_user import LLMUser
from turngym.envs.emotional_support.profiles import find
from turngym.envs.emotional_support.rule_user import RuleUser
from turngym.envs.emotional_support.simulator import Scene
from turngym.seeding import derive
from turngym.trainers.rollout import Group, RolloutConfig, rollout
from turngym.types import Completion, Context, Message, Sampling, assistant

ROOT = Path(__file__).resolve().parents[1]
GRADED = ROOT / "tests/data/emotional_support_graded.jsonl"
OUT = ROOT / "benchmarks/results/emotional_support.json"
PRESETS = ("demo", "sage", "rlver", "empa", "mapo")


def speed(preset: str, steps: int = 3000) -> dict[str, float]:
    """Steps a second of CPU time, resets included, and microseconds per fork."""
    env = turngym.make("turngym/EmotionalSupport-v0", preset=preset)
    reply = "You feel ashamed about that. No wonder. What happened then?"
    env.reset(seed=0)
    env.step(reply)
    begin = time.process_time()
    for _ in range(200):
        env.fork()
    fork = (time.process_time() - begin) / 200
    begin, over = time.process_time(), True
    for index in range(steps):
        if over:
            env.reset(seed=index)
        _, _, terminated, truncated, _ = env.step(reply)
        over = terminated or truncated
    seconds = time.process_time() - begin
    return {"steps_a_second": round(steps / seconds), "fork_us": round(1e6 * fork)}


def reached(preset: str, noise: float | None) -> dict[str, float]:
    """Success and outcome of the scripted supporter on the people of the test split."""
    env = turngym.make("turngym/EmotionalSupport-v0", preset=preset)
    ends: list[dict[str, Any]] = []
    for task in env.tasks("test"):
        new, info = env.reset(seed=0, options={"task_id": task})
        messages: list[Message] = list(new)
        over = False
        while not over:
            seed = derive(task, len(messages))
            wrong = noise is None
            reply = careless(seed) if wrong else env.expert(messages, noise=noise or 0.0, seed=seed)
            new, _, terminated, truncated, info = env.step(reply)
            messages += [assistant(str(reply)), *new]
            over = terminated or truncated
        ends.append(info)
    return {
        "success": round(float(np.mean([end["success"] for end in ends])), 3),
        "outcome": round(float(np.mean([end["outcome"] for end in ends])), 3),
    }


class Patient:
    """A model behind a simulated user that takes 50 ms for each answer."""

    async def act(self, context: Context, *, sampling: Sampling, seed: int) -> Completion:
        """Words or a plan, whichever was asked for."""
        await asyncio.sleep(0.05)
        if '"reply"' in context.new[-1].content.splitlines()[-1]:
            return Completion(message=assistant('{"reply": "Hm."}'))
        levels = '"progress": [1, 0, 0], "regress": [0, 0, 0]'
        return Completion(message=assistant(f'{{"change": 1, {levels}}}'))


def people_played_by_a_model(people: int = 512, turns: int = 4) -> dict[str, float]:
    """Seconds and CPU milliseconds of one turn with many people at once; floor: two answers, 0.1 s."""
    user = LLMUser(Patient())
    began, cpu = time.perf_counter(), time.process_time()
    done = rollout(
        lambda: EmotionalSupport(simulator=user, max_turns=turns),
        Supporter(),
        [Group(key=str(index), seed=index) for index in range(people)],
        RolloutConfig(concurrency=people),
    )
    assert all(len(episode.turns) == turns for episode in done)
    return {
        "people": people,
        "seconds_a_turn": round((time.perf_counter() - began) / turns, 3),
        "cpu_ms_a_turn_and_person": round(1e3 * (time.process_time() - cpu) / turns / people, 2),
    }


def agreement(half: str) -> float:
    """Spearman correlation of the rule-based appraisal with the hand grades of one half."""
    rows = [json.loads(line) for line in GRADED.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["half"] == half]
    scenes = [Scene(profile=find(row["profile"]), mood=40, said=(row["said"],)) for row in rows]
    user = RuleUser()
    ours = [
        user.appraise(scene, row["reply"], 0).change
        for scene, row in zip(scenes, rows, strict=True)
    ]
    grades = [row["grade"] for row in rows]
    return round(float(np.corrcoef(_ranks(ours), _ranks(grades))[0, 1]), 3)


def _ranks(values: list[int]) -> Any:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def main() -> None:
    """Measure, print, write."""
    result = {
        "speed": {preset: speed(preset) for preset in PRESETS},
        "played_by_a_model": people_played_by_a_model(),
        "spearman": {half: agreement(half) for half in ("tune", "check")},
        "test_split": {
            preset: {
                "careless" if noise is None else f"noise {noise}": reached(preset, noise)
                for noise in (0.0, 0.2, 0.4, 1.0, None)
            }
            for preset in PRESETS
        },
        "python": platform.python_version(),
        "cpu": platform.processor() or platform.machine(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
