"""Rewards of the family against hand computation, properties and real episodes."""

import asyncio
import math
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.envs.check import inspect_env
from turngym.envs.emotional_support.env import EmotionalSupport
from turngym.envs.emotional_support.expert import Supporter
from turngym.envs.emotional_support.future import FutureOriented, future_reward
from turngym.errors import ConfigError, DataError, JudgeFailure
from turngym.rewards.emotion import (
    emotion_change,
    emotion_potential,
    mixed_returns,
    terminal_emotion,
)
from turngym.rewards.emotion_empa import (
    empa_distance_diff,
    empa_goal_distance,
    empa_increment,
    empa_potential,
)
from turngym.rewards.emotion_epmq import epm_index, epm_q
from turngym.rewards.emotion_followup import follow_up_likelihood
from turngym.rewards.emotion_guards import length_guard, repetition_guard, think_then_say
from turngym.trainers.rollout import Group, RolloutConfig, rollout
from turngym.types import (
    Completion,
    Context,
    EpisodeStatus,
    Message,
    Privileged,
    Sampling,
    Trajectory,
    Turn,
    assistant,
    user,
)


def trajectory(turns, **hidden):
    return Trajectory(
        env_id="turngym/EmotionalSupport-v0",
        task_id="t",
        episode="0",
        seed=0,
        group="0",
        turns=tuple(turns),
        status=EpisodeStatus.TERMINATED,
        privileged=Privileged(hidden_state=hidden),
    )


def felt(start, *emotions):
    turns = [
        Turn(seen=(), completion=Completion(message=assistant("x")), info={"emotion": value})
        for value in emotions
    ]
    return trajectory(turns, initial_emotion=start)


def wrote(*replies):
    messages = [reply if isinstance(reply, Message) else assistant(reply) for reply in replies]
    turns = [
        Turn(seen=(user("Hi"),), completion=Completion(message=message)) for message in messages
    ]
    return trajectory(turns)


def test_emotion_rewards_by_hand():
    episode = felt(40, 50, 45, 100)
    assert terminal_emotion(episode) == 1.0
    assert emotion_change(episode) == (1.0, -0.5, 5.5)
    assert emotion_potential(episode) == pytest.approx((0.1, -0.05, 0.55))
    assert terminal_emotion(felt(30, -20)) == 0.0


def test_mixed_returns_by_hand():
    # G = (1 + .5*(-2 + .5*4), -2 + .5*4, 4) = (1, 0, 4); .6 r + .4 G
    assert mixed_returns([1, -2, 4], alpha=0.4, gamma=0.5) == pytest.approx([1.0, -1.2, 4.0])


@given(st.integers(0, 100), st.lists(st.integers(-50, 100), min_size=1, max_size=12))
def test_potential_differences_sum_to_the_end_minus_the_start(start, emotions):
    rewards = emotion_potential(felt(start, *emotions))
    total = sum(float(value) for value in rewards)  # type: ignore[arg-type]
    assert math.isclose(total, (emotions[-1] - start) / 100, abs_tol=1e-9)


# The worked example: phi = 5, 4, 1, 2 for P_0 = (-4,-5,-1) and v = (3,0,0), (0,3,0), (1,1,-2).
EXAMPLE = ((-1, -5, -1), (-1, -2, -1), (0, -1, -3))


def moved(start, path, levels=None):
    infos = levels or [{} for _ in path]
    turns = [
        Turn(
            seen=(),
            completion=Completion(message=assistant("x")),
            info={"position": list(position), **info},
        )
        for position, info in zip(path, infos, strict=True)
    ]
    return trajectory(turns, initial_position=list(start), tolerance=1)


def test_empa_rewards_of_the_worked_example():
    episode = moved((-4, -5, -1), EXAMPLE)
    assert empa_distance_diff(episode) == (1.0, 3.0, -1.0)
    assert empa_goal_distance(episode) == (-4.0, -1.0, -2.0)
    assert empa_increment(episode) == (3.0, 3.0, 0.0)
    # |P| = sqrt 42, sqrt 27, sqrt 6, sqrt 10; Phi = 9 / (9 + |P|); the first turn by hand:
    first = 0.99 * 9 / (9 + math.sqrt(27)) - 9 / (9 + math.sqrt(42))
    assert empa_potential(episode)[0] == pytest.approx(first)


def test_epm_q_by_hand():
    # P: (-4,0,0) -> (-1,0,0) -> (-1,-2,0); distance 3, 0, 1; energies 3, 0; r0 = 3.
    progress, regress = [(2, 0, 0), (0, 0, 0)], [(0, 0, 0), (0, -1, 0)]
    path = [(-4, 0, 0), (-1, 0, 0), (-1, -2, 0)]
    index = epm_index(path, progress, regress)
    assert index.distance_improvement == pytest.approx(83.3333, abs=1e-3)  # (66.67 + 100) / 2
    assert index.total_energy == pytest.approx(83.3333, abs=1e-3)  # 3 / 3.6
    assert index.net_levels == pytest.approx(22.2222, abs=1e-3)  # 1 / 4.5
    assert (index.density, index.projection) == pytest.approx((60, 60))  # 1.5 / 2.5
    assert index.straightness == pytest.approx(80.6625, abs=1e-3)  # (3 - 5 / sqrt 13) / 2
    assert (index.positive_share, index.alignment) == pytest.approx((50, 75))
    assert index.freedom_from_penalties == pytest.approx(83.3333, abs=1e-3)  # 2.5 / 3
    assert index.total == pytest.approx(66.3405, abs=1e-3)
    levels = [{"progress": p, "regress": r} for p, r in zip(progress, regress, strict=True)]
    assert epm_q(moved(path[0], path[1:], levels)) == index.total


def test_epm_q_of_standing_still_and_of_nothing():
    still = epm_index([(-4, 0, 0)] * 2, [(0, 0, 0)], [(0, 0, 0)])
    assert (still.straightness, still.alignment, still.distance_improvement) == (0, 50, 50)
    with pytest.raises(DataError, match="a turn"):
        epm_index([(-4, 0, 0)], [], [])


def test_rewards_of_the_wrong_preset_are_refused_and_not_zero():
    with pytest.raises(DataError, match="preset='empa'"):
        empa_distance_diff(felt(40, 50))
    with pytest.raises(DataError, match="'sage'"):
        terminal_emotion(moved((-4, 0, 0), [(-1, 0, 0)]))


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("<think>She is hurt.</think>Oh no.", 1.0),
        ("<think></think>Oh no.", 0.0),
        ("<think>She is hurt.</think>", 0.0),
        ("Oh no.", 0.0),
        ("Oh <think>She is hurt.</think> no.", 0.0),
        ("<think>a</think>b<think>c</think>d", 0.0),
        ("<think><think>a</think>b", 0.0),
        (Message(role="assistant", content="Oh no.", reasoning="She is hurt."), 1.0),
        (Message(role="assistant", content="<think>x</think>Oh", reasoning="She"), 0.0),
    ],
)
def test_think_then_say(reply, value):
    assert think_then_say(wrote(reply)) == (value,)


def test_repetition_is_counted_against_earlier_turns_only():
    # runs of the third: (i am here), (am here now): one of two is in the first turn
    values = repetition_guard(wrote("I am here.", "What now?", "I am here now.", "I am here."))
    assert values == (0.0, 0.0, -0.5, -1.0)
    assert repetition_guard(wrote("我在这里听", "我在这里听")) == (0.0, -1.0)
    assert repetition_guard(wrote("", "")) == (0.0, 0.0)


def test_length_falls_outside_its_bounds():
    values = length_guard(wrote("", "one two", "a b c d", "w " * 80, "w " * 120, "w " * 500))
    assert values == (-1.0, -0.5, 0.0, 0.0, -0.5, -1.0)


def test_thoughts_do_not_count_as_length_or_repetition():
    same = "<think>She needs to be heard by me now</think>"
    assert length_guard(wrote(same + "a b c d"))[0] == 0.0
    assert repetition_guard(wrote(same + "Oh no, really?", same + "What came next?"))[1] == 0.0


def test_follow_up_likelihood_is_a_difference_of_means_given_the_past():
    asked = []

    def score(conversation, follow_up):
        asked.append((tuple(message.content for message in conversation), follow_up.content))
        return {"Thanks.": -1.0, "Great.": -2.0, "No.": -5.0}[follow_up.content]

    graded = follow_up_likelihood(score, contented=("Thanks.", "Great."), disappointed=("No.",))
    assert graded(wrote("a", "b")) == (3.5, 3.5)
    assert asked[-1] == (("Hi", "a", "Hi", "b"), "No.")
    assert follow_up_likelihood(score, contented=("Great.",), disappointed=())(wrote("a")) == (-2,)
    with pytest.raises(ConfigError, match="contented"):
        follow_up_likelihood(score, contented=())


@pytest.mark.parametrize("preset", ["sage", "empa"])
def test_recorded_rewards_of_real_episodes_agree_with_the_environments_own(preset):
    make = lambda: EmotionalSupport(preset=preset)  # noqa: E731
    groups = [Group(key=str(seed), seed=seed, size=2) for seed in range(3)]
    for episode in rollout(make, Supporter(noise=0.4), groups, RolloutConfig()):
        assert episode.status.counts, episode.error
        recorded = empa_distance_diff if preset == "empa" else emotion_change
        assert recorded(episode) == pytest.approx([turn.reward for turn in episode.turns])
        if preset == "sage":
            assert terminal_emotion(episode) == episode.outcome
        else:
            assert 0 <= epm_q(episode) < 200


# --- futures -------------------------------------------------------------------------------------

GOOD, BAD = "You feel ashamed about your driving test. No wonder. What happened?", "Get over it."


def at_a_reply(preset="sage"):
    env = EmotionalSupport(preset=preset)
    observation, _ = env.reset(seed=1, options={"task_id": "driving-test/no_fault/0"})
    return env, Context(episode="0", new=observation)


def said(text):
    return Completion(message=assistant(text))


def test_a_future_without_further_steps_is_the_immediate_reward_and_leaves_the_env_alone():
    env, context = at_a_reply()
    before = env.fingerprint()
    future = future_reward(env, context, said(GOOD), Supporter(), steps=0, branches=2)
    assert env.fingerprint() == before
    reward = env.step(GOOD)[4]["turn_reward"]
    assert future.branches == (reward, reward) and future.value == future.immediate == reward


def test_futures_discount_and_prefer_the_better_reply():
    class Steady:
        async def act(self, context, *, sampling, seed):
            return said("I'm here." + " Tell me." * len(context.turns))

    env, context = at_a_reply()
    good, bad = (
        future_reward(env, context, said(text), Supporter(), steps=2, branches=3)
        for text in (GOOD, BAD)
    )
    assert good.value > bad.value and good.value > good.immediate
    first = future_reward(env, context, said(GOOD), Steady(), steps=1, branches=1, gamma=1.0)
    half = future_reward(env, context, said(GOOD), Steady(), steps=1, branches=1, gamma=0.5)
    later = first.value - first.immediate
    assert later != 0 and half.value == pytest.approx(half.immediate + 0.5 * later)


def test_a_future_ends_with_its_episode_and_repeats_under_one_seed():
    env, context = at_a_reply("demo")
    values = [
        future_reward(env, context, said(GOOD), Supporter(noise=0.5), steps=50, seed=seed).branches
        for seed in (3, 3, 4)
    ]
    assert values[0] == values[1] != values[2]


def test_the_agent_sees_the_past_of_the_future():
    seen = []

    class Watching:
        async def act(self, context, *, sampling, seed):
            seen.append((context.episode, tuple(m.role for m in context.messages)))
            return said("I'm here.")

    env, context = at_a_reply("demo")
    future_reward(env, context, said(GOOD), Watching(), steps=2, branches=2)
    asked: dict[str, list[tuple[str, ...]]] = {}  # the branches run side by side, in any order
    for episode, roles in seen:
        asked.setdefault(episode, []).append(roles)
    expected = [("user", "assistant", "user"), ("user", "assistant", "user", "assistant", "user")]
    assert list(asked.values()) == [expected, expected]
    assert "0" not in asked


def test_a_failing_judge_gives_no_value():
    env, context = at_a_reply()

    def fail(*_):
        raise JudgeFailure("no verdict")

    env.simulator.appraise = fail
    with pytest.raises(JudgeFailure):
        future_reward(env, context, said(GOOD), Supporter())
    with pytest.raises(ValueError, match="branches"):
        future_reward(env, context, said(GOOD), Supporter(), branches=0)
    assert asyncio.run(Supporter().act(context, sampling=Sampling(), seed=0)).message.content


def test_a_future_oriented_environment_pays_what_a_reply_leads_to():
    env, context = at_a_reply("demo")
    forward = FutureOriented(EmotionalSupport(preset="demo"), Supporter(), steps=2, branches=3)
    observation, _ = forward.reset(seed=1, options={"task_id": "driving-test/no_fault/0"})
    assert observation == context.new
    twin = forward.fork(seed=9)  # another generator, the same state
    plain, paid = env.step(GOOD), forward.step(GOOD)
    assert paid[:4] == plain[:4] and paid[4]["outcome"] == plain[4]["outcome"]
    assert paid[4]["rewards"]["immediate"] == plain[4]["turn_reward"] < paid[4]["turn_reward"]
    assert twin.step(GOOD)[4]["turn_reward"] == paid[4]["turn_reward"]
    assert forward.turns[-1].reward == paid[4]["turn_reward"]


def test_it_trains_turn_level_methods_and_keeps_the_contract_of_environments():
    def make():
        return FutureOriented(EmotionalSupport(preset="demo"), Supporter(), steps=1, branches=2)

    (episode,) = rollout(make, Supporter(noise=0.3), [Group(key="0", seed=4)])
    assert episode.status.counts, episode.error
    for turn, following in pairwise(episode.turns):
        assert turn.reward == turn.rewards["future"] != turn.rewards["immediate"]
        assert turn.rewards["immediate"] == turn.rewards["gain"] and following.reward is not None
    assert inspect_env(make).violations == ()


def test_branches_are_played_side_by_side():
    class Slow(Supporter):
        async def act(self, context, *, sampling, seed):
            await asyncio.sleep(0.1)
            return await super().act(context, sampling=sampling, seed=seed)

    env, context = at_a_reply("demo")
    began = time.perf_counter()
    future_reward(env, context, said(GOOD), Slow(), steps=1, branches=16)
    assert time.perf_counter() - began < 1.0  # one after the other: 1.6 s
