"""Recorded conversations: what the environment paid is what the rewards say of the record."""

import pytest

from turngym.agents.scripted import ScriptedAgent
from turngym.agents.tiny import tiny_tokenizer
from turngym.envs.tool_use.env import ToolUse
from turngym.rewards.reward import trajectory_value, turn_values
from turngym.rewards.tool_checklist import cm2_exchange, cm2_trajectory, cm2_turn
from turngym.rewards.tool_state import check_task, task_solved
from turngym.serial import dumps, loads
from turngym.trainers.cold_start import demonstrate
from turngym.trainers.rollout import Group, RolloutConfig, rollout


@pytest.fixture(scope="module", params=[None, "demo"])
def trajectories(request):
    env = ToolUse(size=request.param)
    agent = ScriptedAgent(
        lambda context: env.expert(context.messages, noise=0.25, seed=int(context.episode[1:3]))
    )
    tasks = env.tasks("train")[:: 1 if request.param is None else 9]
    groups = [Group(key=f"g{n:02}", seed=n, task_id=task) for n, task in enumerate(tasks)]
    return rollout(lambda: ToolUse(size=request.param), agent, groups, RolloutConfig())


def test_rewards_of_the_record_equal_those_of_the_environment(trajectories):
    assert {trajectory.success for trajectory in trajectories} == {True, False}
    for trajectory in trajectories:
        assert trajectory.status.counts, trajectory.error
        assert turn_values(cm2_turn, trajectory) == pytest.approx(
            [turn.reward for turn in trajectory.turns]
        )
        paid = [turn.rewards.get("checklist") for turn in trajectory.turns]
        found = turn_values(cm2_exchange, trajectory)
        assert [f for f, p in zip(found, paid, strict=True) if p is not None] == pytest.approx(
            [p for p in paid if p is not None]
        )
        rewards = trajectory.turns[-1].rewards
        assert check_task(trajectory).state_equal == (rewards["state"] == 1.0)
        assert trajectory.outcome == min(task_solved(trajectory), rewards["strict"])


def test_an_exchange_is_a_request_and_solved_dialogues_earn_every_one(trajectories):
    for trajectory in trajectories:
        exchanges = [turn.exchange for turn in trajectory.turns]
        assert exchanges == sorted(exchanges)
        requests = len(trajectory.privileged.hidden_state["checklist"])
        if trajectory.success:
            assert set(exchanges) == set(range(requests))
            assert trajectory_value(cm2_trajectory, trajectory) <= requests


def test_the_record_survives_a_file(trajectories):
    for trajectory in trajectories[:10]:
        again = loads(dumps(trajectory))
        assert cm2_turn(again) == cm2_turn(trajectory)
        assert task_solved(again) == task_solved(trajectory)


def test_demonstrations_for_the_tiny_policy_are_short_and_solved():
    episodes = demonstrate(lambda: ToolUse(size="demo"), tiny_tokenizer(), episodes=30)
    for trajectory in episodes:
        assert trajectory.success, trajectory.error
        tokens = sum(
            len(turn.completion.new_prompt_ids) + len(turn.completion.reply_ids)
            for turn in trajectory.turns
        )
        assert tokens <= 400
