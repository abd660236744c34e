"""TextEnv under Gymnasium's own tools, on real text."""

import inspect
import subprocess
import sys
import time
import warnings

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

import turngym
from turngym.envs.spaces import MessagesSpace, ReplySpace
from turngym.types import assistant, user

TEXTS = (
    "",
    "Crème brûlée à Škofja Loka",
    "two\nlines\r\n\tand a tab",
    "👩‍🚀🙂",
    "红色 鞋子",
    "e\u0301 \x00 \u202e",
)


class Poet(turngym.TextEnv):
    """Says texts that plain gymnasium.spaces.Text refuses."""

    def reset(self, *, seed=None, options=None):
        self.order = [int(i) for i in self.np_random.permutation(len(TEXTS))]
        return (user(TEXTS[self.order[0]]),), {"task_id": "poem"}

    def step(self, action):
        text = TEXTS[self.order[self.turn % len(TEXTS)]]
        return (user(text), user("")), 0.0, self.turn >= 6, False, {"said": action.content}


turngym.register("tests/Poet-v0", Poet)


@pytest.mark.parametrize("max_turns", [None, 2])
def test_gymnasium_check_env_passes_on_real_text(max_turns):
    with warnings.catch_warnings():
        # It suggests array spaces, which text has not.
        warnings.filterwarnings("ignore", message=".*(observation|action) space.*")
        check_env(Poet(max_turns=max_turns), skip_render_check=True)


def test_gymnasium_make_gives_the_bare_environment():
    env = gymnasium.make("tests/Poet-v0", max_turns=3)
    assert type(env) is Poet and env.max_turns == 3


def test_plain_gymnasium_users_need_no_import_of_ours(tmp_path):
    code = (
        "import gymnasium\n"
        "env = gymnasium.make('turngym:turngym/WebShop-v0', max_turns=1)\n"
        "env.reset(seed=0)\n"
        "print(env.step('search[shoes]')[2:4], type(env.unwrapped) is type(env))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == "(False, True) True\n"


def test_make_vec_sync_steps_all_copies_and_resets_them_at_the_end():
    envs = gymnasium.make_vec("tests/Poet-v0", num_envs=3, vectorization_mode="sync")
    first, info = envs.reset(seed=5)
    assert len(first) == 3 and list(info["task_id"]) == ["poem"] * 3
    alone, _ = Poet().reset(seed=6)  # copy i is seeded with seed + i
    assert first[1] == alone
    for _ in range(6):
        envs.step(envs.action_space.sample())
    _, rewards, terminated, truncated, _ = envs.step(envs.action_space.sample())
    assert rewards.shape == (3,) and terminated.all() and not truncated.any()
    observations, *_ = envs.step(("a", "b", "c"))  # after an end the next call resets
    assert all(len(messages) == 1 for messages in observations)
    envs.close()


@pytest.mark.parametrize("space", [MessagesSpace(), ReplySpace(["a", "b"])])
def test_spaces_sample_what_they_contain_and_repeat_under_a_seed(space):
    space.seed(3)
    drawn = [space.sample() for _ in range(20)]
    space.seed(3)
    assert drawn == [space.sample() for _ in range(20)]
    assert all(space.contains(item) for item in drawn)


def test_spaces_refuse_what_they_do_not_contain():
    assert not MessagesSpace().contains([user("a list")])
    assert not MessagesSpace().contains(("text",))
    assert not ReplySpace().contains(user("a user message"))
    assert not ReplySpace().contains(3)
    assert ReplySpace().contains("") and ReplySpace().contains(assistant("x"))


class Bare(turngym.TextEnv):
    """Does nothing, so that what remains is TextEnv itself."""

    MESSAGES = (user("ok"),)
    INFO: dict = {}

    def reset(self, *, seed=None, options=None):
        return self.MESSAGES, self.INFO

    def step(self, action):
        return self.MESSAGES, 0.0, False, False, self.INFO


def test_text_env_adds_at_most_5_us_to_a_step():
    env = Bare(max_turns=10**9)
    env.reset(seed=0)
    reply = assistant("hello")

    def microseconds(step):
        start = time.process_time()
        for _ in range(5_000):
            step(reply)
        return (time.process_time() - start) / 5_000 * 1e6

    inner = inspect.unwrap(Bare.step).__get__(env)
    added = min(microseconds(env.step) - microseconds(inner) for _ in range(7))
    assert added <= 5.0
