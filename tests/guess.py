"""The smallest environment, used all over the tests."""

from turngym import TextEnv
from turngym.envs.env import StepResult
from turngym.types import user


class Guess(TextEnv):
    """Guess a number from 1 to 100; reward 1 when it is found."""

    max_turns = 8

    def reset(self, *, seed=None, options=None):
        self.target = int(self.np_random.integers(1, 101))
        return (user("I picked a number from 1 to 100. Guess."),), {}

    def step(self, action) -> StepResult:
        try:
            guess = int(action.content)
        except ValueError:
            return (
                (user("Please answer with a number."),),
                0.0,
                False,
                False,
                {"status": "invalid_action"},
            )
        if guess == self.target:
            return (user("Right."),), 1.0, True, False, {}
        hint = "higher" if guess < self.target else "lower"
        return (user(hint),), 0.0, False, False, {}
