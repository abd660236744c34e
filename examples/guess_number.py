"""An environment of one's own, an agent of one's own, and what came out.

python examples/guess_number.py
"""

import turngym
from turngym import TextEnv
from turngym.agents.scripted import ScriptedAgent
from turngym.trainers.evaluate import evaluate
from turngym.types import Context, Sampling, user


class Guess(TextEnv):
    """Guess a number from 1 to 100 in at most seven turns; reward 1 when it is found."""

    max_turns = 7

    def reset(self, *, seed=None, options=None):
        self.target = int(self.np_random.integers(1, 101))
        return (user("I picked a number from 1 to 100. Guess."),), {}

    def step(self, reply):
        if reply.content not in map(str, range(1, 101)):
            info = {"status": "invalid_action"}
            return (user("Please answer with a number."),), 0.0, False, False, info
        guess = int(reply.content)
        hint = "Right." if guess == self.target else "higher" if guess < self.target else "lower"
        return (user(hint),), float(hint == "Right."), hint == "Right.", False, {}


def bisect(context: Context) -> str:
    """Halve what is left, reading only the conversation."""
    low, high = 1, 100
    messages = context.messages
    for reply, hint in zip(messages[1::2], messages[2::2], strict=True):
        guess = int(reply.content)
        low, high = (guess + 1, high) if hint.content == "higher" else (low, guess - 1)
    return str((low + high) // 2)


def main() -> None:
    turngym.check_env(Guess)
    found = evaluate(Guess, ScriptedAgent(bisect), split="test", episodes=200, sampling=Sampling())
    print(f"success {found.success}, {found.turns:.1f} turns")


if __name__ == "__main__":
    main()
