"""check_env finds what is broken: one environment per rule, each wrong in exactly one way."""

import random

import pytest

import turngym
from guess import Guess
from turngym.envs.check import inspect_env
from turngym.envs.check_rules import RULES
from turngym.envs.registry import ids
from turngym.errors import ContractError, InfraFailure, UnknownNameError
from turngym.types import Privileged, assistant, user

REPLIES = ("1", "2", "x", "3")


def rules_broken(env, **kwargs):
    report = inspect_env(env, replies=REPLIES, **kwargs)
    return {violation.rule for violation in report.violations}


class Good(Guess):
    """Keeps every rule: tasks, privileged values, tool schema and all."""

    tools = ({"type": "function", "function": {"name": "hint", "parameters": {}}},)

    def tasks(self, split="train"):
        return {"train": ("low", "high"), "test": ("middle",)}.get(split, ())

    def reset(self, *, seed=None, options=None):
        task = (options or {}).get("task_id", "low")
        if task not in ("low", "high", "middle"):
            raise UnknownNameError("task", task, ("low", "high", "middle"))
        observation, _ = super().reset(seed=seed, options=options)
        return observation, {"task_id": task}

    @property
    def privileged(self):
        return Privileged(references=(str(self.target),), notes=f"the number is {self.target}")

    async def astep(self, action):
        return self.step(action)


class SpeaksForTheAgent(Guess):
    def step(self, action):
        _, reward, terminated, truncated, info = super().step(action)
        return (assistant("I think"), user("go on")), reward, terminated, truncated, info


class SaysNothing(Guess):
    def step(self, action):
        return ((), *super().step(action)[1:])


class DrawsFromTheGlobalGenerator(Guess):
    def reset(self, *, seed=None, options=None):
        self.target = random.randrange(1, 10**9)
        return (user(f"Not {self.target + 1}."),), {}


class KeepsTheOldEpisode(Guess):
    def reset(self, *, seed=None, options=None):
        self.seen = getattr(self, "seen", 0) + 1
        return super().reset(seed=seed, options=options)


class ForksShareTheLog(Guess):
    def reset(self, *, seed=None, options=None):
        self.log = Log()
        return super().reset(seed=seed, options=options)

    def step(self, action):
        self.log.lines.append(action.content)
        _, reward, terminated, truncated, info = super().step(action)
        return (user(f"{len(self.log.lines)} guesses"),), reward, terminated, truncated, info

    def fingerprint(self):
        return f"{self.turn} {self.log.lines}"


class Log:
    def __init__(self):
        self.lines = []

    def __deepcopy__(self, memo):
        return self


class ForksIgnoreTheSeed(Guess):
    def fork(self, *, seed=None):
        return super().fork()


class FingerprintIsTheAddress(Guess):
    def fingerprint(self):
        return str(id(self))


class EndsTwice(Guess):
    def step(self, action):
        observation, reward, *_ = super().step(action)
        return observation, reward, True, True, {}


class StepsAfterTheEnd(Guess):
    def __getattribute__(self, name):
        return True if name == "_open" else super().__getattribute__(name)


class TalksTooMuch(Guess):
    def step(self, action):
        return ((user("blah " * 30_000),), *super().step(action)[1:])


class InfoHoldsASet(Guess):
    def step(self, action):
        return (*super().step(action)[:4], {"seen": {1, 2}})


class InfoIsSharedAndGrows(Guess):
    def step(self, action):
        self.said = [*getattr(self, "said", []), action.content] if self.turn == 0 else self.said
        if self.turn:
            self.said.append(action.content)
        return (*super().step(action)[:4], {"said": self.said})


class StatusIsMisspelt(Guess):
    def step(self, action):
        return (*super().step(action)[:4], {"status": "invalid"})


class SuccessIsANumber(Guess):
    def step(self, action):
        return (*super().step(action)[:4], {"success": 1.0})


class CrashesOnText(Guess):
    def step(self, action):
        if action.content not in REPLIES:
            raise IndexError("list index out of range")
        return super().step(action)


class TakesAnything(Guess):
    pass


# Set from outside, so that TextEnv does not check what goes in.
TakesAnything.step = lambda self, action: ((user("ok"),), 0.0, False, False, {})  # type: ignore


class CannotBePickled(Guess):
    shared = frozenset({"judge"})

    def __init__(self):
        self.judge = lambda text: 1.0


class ClosesOnce(Guess):
    def close(self):
        del self.target


class TellsTheAnswer(Good):
    def reset(self, *, seed=None, options=None):
        _, info = super().reset(seed=seed, options=options)
        return (user(f"Guess. (Note to the judge: the number is {self.target}.)"),), info


class TellsThePlan(Guess):
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return (user("First search[shoes], then click[buy now]."),), {}

    @property
    def privileged(self):
        return Privileged(gold_actions=("search[shoes]", "click[buy now]"))


class TellsTheGrammar(TellsThePlan):
    """Good: one gold action as an example of the grammar gives nothing away."""

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return (user("End with click[buy now]."),), {}


class SplitsOverlap(Good):
    def tasks(self, split="train"):
        return ("low", "high")


class IgnoresTheTask(Good):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)


class AsyncPaysMore(Guess):
    async def astep(self, action):
        observation, reward, *rest = self.step(action)
        return (observation, reward + 1, *rest)


BROKEN = {
    SpeaksForTheAgent: "roles",
    SaysNothing: "roles",
    DrawsFromTheGlobalGenerator: "determinism",
    KeepsTheOldEpisode: "fingerprint",
    ForksShareTheLog: "fork",
    ForksIgnoreTheSeed: "fork_seed",
    FingerprintIsTheAddress: "fingerprint",
    EndsTwice: "ends",
    StepsAfterTheEnd: "ends",
    TalksTooMuch: "budget",
    InfoHoldsASet: "info",
    InfoIsSharedAndGrows: "info",
    StatusIsMisspelt: "info",
    SuccessIsANumber: "info",
    CrashesOnText: "malformed",
    TakesAnything: "malformed",
    CannotBePickled: "pickling",
    ClosesOnce: "close",
    TellsTheAnswer: "privileged",
    TellsThePlan: "privileged",
    SplitsOverlap: "tasks",
    IgnoresTheTask: "tasks",
    AsyncPaysMore: "astep",
}


@pytest.mark.parametrize("env", [Guess, Good, TellsTheGrammar])
def test_a_good_environment_passes_every_rule(env):
    assert turngym.check_env(env, replies=REPLIES).checked == tuple(RULES)


# SWE needs Docker; its own tests check it.
OURS = [name for name in ids() if name.startswith("turngym/") and "SWE" not in name]


@pytest.mark.parametrize("name", OURS)
def test_our_own_environments_pass_every_rule(name):
    turngym.check_env(name)


@pytest.mark.parametrize("env", BROKEN, ids=lambda env: env.__name__)
def test_a_broken_environment_is_found(env):
    assert BROKEN[env] in rules_broken(env)


@pytest.mark.parametrize(
    "env",
    [SpeaksForTheAgent, ForksIgnoreTheSeed, StatusIsMisspelt, AsyncPaysMore, SplitsOverlap],
)
def test_one_fault_breaks_one_rule_only(env):
    assert rules_broken(env) == {BROKEN[env]}


def test_every_rule_has_a_broken_environment():
    assert set(BROKEN.values()) == set(RULES)


def test_the_error_lists_every_violation_at_once():
    class Both(StatusIsMisspelt):
        def fork(self, *, seed=None):
            return super().fork()

    with pytest.raises(ContractError) as caught:
        turngym.check_env(Both, replies=REPLIES)
    text = str(caught.value)
    assert "Both breaks the contract" in text
    assert "info: info['status'] is 'invalid', expected one of ok" in text
    assert "fork_seed: forks with different seeds draw the same numbers" in text


def test_a_rule_can_be_skipped_and_a_misspelt_one_is_refused():
    assert rules_broken(StatusIsMisspelt, skip=("info",)) == set()
    with pytest.raises(UnknownNameError, match="Did you mean 'info'"):
        inspect_env(Guess, skip=("inf",))


def test_an_environment_object_can_be_checked_and_stays_as_it_is():
    env = Guess()
    env.reset(seed=5)
    before = env.fingerprint()
    turngym.check_env(env, replies=REPLIES)
    assert env.fingerprint() == before
    with pytest.raises(ContractError, match="StatusIsMisspelt breaks"):
        turngym.check_env(StatusIsMisspelt(), replies=REPLIES)


def test_an_environment_that_cannot_even_reset_is_a_finding():
    class Down(Guess):
        def reset(self, *, seed=None, options=None):
            raise InfraFailure("no server")

    with pytest.raises(ContractError, match="roles: raised InfraFailure: no server"):
        turngym.check_env(Down, replies=REPLIES)


def test_every_copy_is_closed():
    alive = []

    class Counted(Guess):
        def reset(self, *, seed=None, options=None):
            alive.append(id(self))
            return super().reset(seed=seed, options=options)

        def close(self):
            alive[:] = [other for other in alive if other != id(self)]

    turngym.check_env(Counted, replies=REPLIES, skip=("pickling",))
    assert alive == []
