"""`turngym new env`: a working environment and its test, ready to be changed."""

import re
from dataclasses import dataclass
from pathlib import Path

from turngym.errors import ConfigError

__all__ = ["Scaffold", "write_env"]

ENV = '''"""{title}: say what the task is."""

import turngym
from turngym.types import Message, user


class {cls}(turngym.TextEnv):
    """Guess a number from 1 to 10."""

    max_turns = 5

    def reset(self, *, seed=None, options=None):
        # Draw only from self.np_random: the seed then decides everything, in forks too.
        self.target = int(self.np_random.integers(1, 11))
        return (user("I picked a number from 1 to 10. Guess."),), {{}}

    def step(self, reply: Message):
        try:
            guess = int(reply.content)
        except ValueError:  # a policy may say anything: that is an invalid action, not a crash
            info = {{"status": "invalid_action", "feedback": "not a number"}}
            return (user("Please answer with a number."),), 0.0, False, False, info
        if guess == self.target:
            return (user("Right."),), 1.0, True, False, {{}}
        hint = "higher" if guess < self.target else "lower"
        return (user(f"Try {{hint}}."),), 0.0, False, False, {{}}


turngym.register("{id}", {cls})
'''

TEST = '''"""{cls} keeps the contract and pays for the right answer."""

import turngym
from {module} import {cls}


def test_keeps_the_contract():
    turngym.check_env({cls}, replies=["5", "not a number", "1", "9"])


def test_the_right_answer_ends_the_episode_with_reward_1():
    env = turngym.make("{id}")
    env.reset(seed=0)
    _, reward, terminated, truncated, _ = env.step(str(env.target))
    assert (reward, terminated, truncated) == (1.0, True, False)
'''


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaffold:
    """What `write_env` wrote."""

    id: str
    module: str
    env: Path
    test: Path


def write_env(name: str, folder: str | Path = ".") -> Scaffold:
    """Write `NAME_env.py` and `test_NAME_env.py` into `folder`.

    Args:
        name: in snake_case, such as `number_guess`; the id is then `NumberGuess-v0`.
        folder: made if need be.

    Raises:
        ConfigError: the name is not snake_case, or one of the files exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise ConfigError(f"a name looks like number_guess: lower case and _, got {name!r}")
    module, cls = f"{name}_env", "".join(word.capitalize() for word in name.split("_"))
    folder = Path(folder)
    made = Scaffold(
        id=f"{cls}-v0",
        module=module,
        env=folder / f"{module}.py",
        test=folder / f"test_{module}.py",
    )
    for path in (made.env, made.test):
        if path.exists():
            raise ConfigError(f"{path} exists already; choose another name or folder")
    names = {"title": name.replace("_", " ").capitalize(), "cls": cls, "id": made.id}
    folder.mkdir(parents=True, exist_ok=True)
    made.env.write_text(ENV.format(**names), encoding="utf-8")
    made.test.write_text(TEST.format(module=module, **names), encoding="utf-8")
    return made
