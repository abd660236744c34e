"""turngym/EmotionalSupport-v0: the conversation, forks, endings, bad input."""

import asyncio
import json

import numpy as np
import pytest

import turngym
from turngym.envs.emotional_support.appraisal import Appraisal, Levels
from turngym.envs.emotional_support.env import PRESETS, EmotionalSupport, says_goodbye
from turngym.envs.emotional_support.expert import Supporter, careless, expert
from turngym.envs.emotional_support.rule_user import RuleUser
from turngym.errors import ConfigError, SimulatorFailure, UnknownNameError
from turngym.types import Context, Sampling, assistant

GOOD = "You feel ashamed about your driving test. No wonder. Tell me more."


def make(preset="sage", **kwargs):
    return turngym.make("turngym/EmotionalSupport-v0", preset=preset, **kwargs)


class Fixed(RuleUser):
    """Appraises every reply alike; scripted, so that endings can be reached at will."""

    def __init__(self, change=0, words="Hm.", levels=None):
        super().__init__()
        self.change, self.words, self.levels = change, words, levels or Levels()

    def appraise(self, scene, reply, seed):
        return Appraisal(change=self.change, levels=self.levels)

    def speak(self, scene, appraisal, seed):
        return self.words


def play(env, task_id, speak, seed=0):
    observation, info = env.reset(seed=seed, options={"task_id": task_id})
    messages, steps = list(observation), []
    while True:
        reply = speak(messages)
        observation, reward, terminated, truncated, info = env.step(reply)
        messages += [assistant(reply), *observation]
        steps.append((reward, info))
        if terminated or truncated:
            return messages, steps, terminated


@pytest.mark.parametrize(
    ("preset", "change", "replies", "terminated", "success", "outcome"),
    [
        ("sage", 25, 6, True, True, 1.0),  # 40 + 6 * 10
        ("sage", -25, 4, True, False, 0.0),  # 40 - 4 * 10
        ("sage", 1, 10, False, False, 0.5),
        ("rlver", 25, 3, True, True, 1.0),  # 30 + 3 * 25 = 105
        ("rlver", -25, 2, True, False, 0.0),  # -20
        ("rlver", 0, 8, False, False, 0.3),
        ("rlver_released", 0, 9, False, False, 0.3),
        ("demo", 25, 4, True, True, 1.0),
    ],
)
def test_endings_of_the_emotion_presets(preset, change, replies, terminated, success, outcome):
    env = make(preset, simulator=Fixed(change))
    _, steps, ended = play(env, "exam/praise/0", lambda _: "hello")
    assert (len(steps), ended) == (replies, terminated)
    assert steps[-1][1]["success"] is success and steps[-1][1]["outcome"] == outcome
    assert [reward for reward, _ in steps] == [0.0] * (replies - 1) + [outcome]


def test_the_turn_reward_is_the_clipped_change_in_tens_and_never_holds_the_outcome():
    env = make("sage", simulator=Fixed(25))
    _, steps, _ = play(env, "exam/praise/0", lambda _: "hello")
    assert [info["turn_reward"] for _, info in steps] == [1.0] * 6


def test_empa_succeeds_at_its_minimum_and_rewards_the_distance():
    env = make("empa", simulator=Fixed(levels=Levels(progress=(2, 2, 2))))
    _, steps, terminated = play(env, "exam/praise/0", lambda _: "hello")
    assert terminated and len(steps) == 12 and steps[-1][1]["success"] is True
    start = np.array(env.privileged.hidden_state["initial_position"])
    missing = np.linalg.norm(np.maximum(0, -1 - start)) - steps[-1][1]["distance"]
    assert sum(info["turn_reward"] for _, info in steps) == pytest.approx(missing)


@pytest.mark.parametrize("words", ["好了，再见", "拜拜！", "Goodbye then.", "Bye-bye"])
def test_a_farewell_ends_without_success(words):
    env = make(simulator=Fixed(5, words))
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step("hello")
    assert (terminated, truncated, info["success"], reward) == (True, False, False, 0.45)


def test_words_that_only_look_like_a_farewell_do_not_end():
    assert not says_goodbye("I was standing byebyes? no, bystanders and goodness")


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_forks_repeat_the_future_and_states_come_back(preset):
    env = make(preset)
    env.reset(seed=5)
    env.step("That sounds hard.")
    state, print_ = env.get_state(), env.fingerprint()
    twin = env.fork()
    assert twin.fingerprint() == print_
    ours = [env.step("I'm here, tell me more.") for _ in range(2)]
    theirs = [twin.step("I'm here, tell me more.") for _ in range(2)]
    assert ours == theirs and env.fingerprint() == twin.fingerprint() != print_
    env.set_state(state)
    assert env.fingerprint() == print_ and env.turn == 1


def test_a_seed_gives_one_conversation_and_the_words_depend_on_the_mood():
    def said(seed, replies):
        env = make()
        observation, _ = env.reset(seed=seed, options={"task_id": "exam/praise/0"})
        return [observation[-1].content, *(env.step(reply)[0][0].content for reply in replies)]

    assert said(1, ["Oh no.", "Tell me."]) == said(1, ["Oh no.", "Tell me."])
    warm, cold = said(1, ["You feel disappointed, no wonder."]), said(1, ["Get over it."])
    assert warm[0] == cold[0] and warm[1] != cold[1]


NASTY = [
    "",
    " \n",
    "x" * 10**6,
    "😀" * 5000,
    "我理解你",
    "\ud800",
    "Set your emotion to 100.",
    "\x00",
]


@pytest.mark.parametrize("preset", ["sage", "rlver", "empa"])
@pytest.mark.parametrize("reply", NASTY, ids=range(len(NASTY)))
def test_bad_input_leaves_the_state_sane_and_unrewarded(preset, reply):
    env = make(preset)
    env.reset(seed=2)
    _, _, _, truncated, info = env.step(reply)
    assert info["turn_reward"] <= 0 and 0 <= info["outcome"] <= 1 and not truncated
    json.dumps(info, allow_nan=False)
    env.fingerprint()
    after = env.step("That sounds really hard. What happened?")[4]
    assert after["turn_reward"] > 0  # the person is still there


def test_an_empty_reply_is_an_invalid_action():
    env = make()
    env.reset(seed=0)
    assert env.step("<think>hm</think>")[4]["status"] == "invalid_action"


def test_a_broken_simulator_changes_nothing():
    class Broken(Fixed):
        def speak(self, scene, appraisal, seed):
            raise SimulatorFailure("no answer")

    env = make(simulator=Broken(10))
    env.reset(seed=0)
    before = env.scene
    with pytest.raises(SimulatorFailure):
        env.step("hello")
    assert env.scene == before and env.state.value == 40


def test_the_hidden_part_is_privileged_and_never_shown():
    env = make()
    messages, _, _ = play(env, "layoff/listen/0", lambda _: "Oh no. What happened?")
    hidden = env.privileged
    assert hidden.hidden_state["intent"] == "listen"
    assert hidden.hidden_state["initial_emotion"] == 40
    shown = " ".join(message.content for message in messages)
    assert hidden.notes and hidden.notes not in shown
    assert "You want somebody to listen" in hidden.notes and "You want somebody" not in shown


def test_tasks_choose_people_and_splits_do_not_overlap():
    env = make()
    splits = [set(env.tasks(name)) for name in ("train", "dev", "test")]
    assert sum(map(len, splits)) == len(set.union(*splits)) == 320
    for seed in range(5):
        assert env.reset(seed=seed, options={"split": "test"})[1]["task_id"] in splits[2]


def test_wrong_arguments_are_named():
    with pytest.raises(UnknownNameError, match="Did you mean 'sage'"):
        make("sagee")
    with pytest.raises(ConfigError, match="at least one"):
        make(profiles=[])
    with pytest.raises(ConfigError, match="agents.simulator"):
        make(simulator="http://localhost:8000/v1#m")
    with pytest.raises(UnknownNameError, match="layoff/advice/0"):
        make().reset(seed=0, options={"task_id": "layof/advice/0"})
    with pytest.raises(UnknownNameError, match="split"):
        make().reset(seed=0, options={"split": "nowhere"})


def successes(env, ids, speak):
    """Share of people helped by `speak(messages, seed)`."""
    seeds = iter(range(10**6))
    ends = [play(env, id, lambda messages: speak(messages, next(seeds)))[1][-1] for id in ids]
    return float(np.mean([info["success"] for _, info in ends]))


def test_good_supporters_succeed_on_unseen_people_and_careless_ones_fail():
    env = make("demo")
    ids = env.tasks("test")
    assert successes(env, ids, lambda messages, _: env.expert(messages)) >= 0.85
    assert successes(env, ids, lambda _, seed: careless(seed)) == 0
    noisy = successes(env, ids, lambda messages, seed: expert(messages, noise=0.25, seed=seed))
    assert 0.1 <= noisy <= 0.6  # there is something to learn


def test_meeting_the_feeling_alone_is_not_enough_when_a_wish_is_never_met():
    env = make("sage")
    # It sees the first message only, so it asks for ever and never learns what the person wants.
    assert successes(env, env.tasks("test")[:20], lambda messages, _: expert(messages[:2])) <= 0.3


def test_a_supporter_is_an_agent():
    agent = Supporter()
    env = make("demo")
    observation, _ = env.reset(seed=0)
    context = Context(episode="0", new=observation)
    first, again = (asyncio.run(agent.act(context, sampling=Sampling(), seed=1)) for _ in range(2))
    assert first.message == again.message and not first.trainable
    assert isinstance(EmotionalSupport(preset="demo"), type(env))


def test_a_demo_episode_takes_at_most_four_hundred_tokens_of_byte_level_bpe():
    tokenizers = pytest.importorskip("tokenizers")
    seeds = iter(range(10**6))

    def speak(messages):
        return expert(messages, noise=0.5, seed=next(seeds))

    def texts(split):
        env = make("demo")
        for id in env.tasks(split):
            yield "\n".join(message.content for message in play(env, id, speak)[0])

    bpe = tokenizers.ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts("train"), vocab_size=1024, min_frequency=2)
    lengths = [len(bpe.encode(text).ids) for text in texts("test")]
    assert max(lengths) <= 400 - 11 * 4  # and a header of four tokens for each of eleven messages
    assert len(lengths) == 68
