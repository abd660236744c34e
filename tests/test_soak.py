"""Ten thousand episodes of which one in twenty breaks: none is lost and nothing is left behind.

Catches: a fault that ends a rollout, or its neighbours, or is taken for the agent's; environments that
are never closed when a reset, a fork or a step fails or comes too late; threads, tasks and handles that
pile up.
"""

import asyncio
import gc
import os
import resource
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from gymnasium.utils.seeding import np_random

from turngym import TextEnv
from turngym.bridge import call
from turngym.errors import InfraFailure, JudgeFailure, SimulatorFailure
from turngym.seeding import derive
from turngym.trainers.rollout import Group, RolloutConfig, arollout
from turngym.types import Completion, Context, Message, Privileged, user

FAULT_RATE = 0.045
"""Of members; faults of the reset and of the agent come on top."""
HANG_S = 1.2
"""Twice the time that a step has, which a busy machine must not use up by itself."""
STATUS = {
    "raise": "env_error",
    "hang": "infra_timeout",
    "garbage": "env_error",
    "text": "env_error",
    "nan": "env_error",
    "huge": "env_error",
    "outcome": "env_error",
    "unjson": "env_error",
    "secret": "env_error",
    "judge": "judge_error",
    "judge_timeout": "infra_timeout",
    "simulator": "simulator_error",
    "fork": "env_error",
    "late_fork": "infra_timeout",
}
KINDS = sorted(STATUS)


class Open:
    """What is open now, over all environments."""

    def __init__(self):
        self.lock, self.made, self.closed = threading.Lock(), 0, 0

    def add(self, made, closed):
        with self.lock:
            self.made += made
            self.closed += closed


class Mute:
    """A judge that never answers."""

    async def act(self, context, *, sampling, seed):
        await asyncio.sleep(60)


def fault_of(draw: float) -> str:
    """The kind of fault behind a uniform draw, "" for none."""
    return KINDS[int(draw / FAULT_RATE * len(KINDS))] if draw < FAULT_RATE else ""


class Faulty(TextEnv):
    """Two turns, worth half a point each; holds a file, and sometimes a process, until closed."""

    shared = frozenset({"counter", "file", "process"})
    max_turns = 2

    def __init__(self, counter):
        self.counter, self.file, self.process = counter, None, None
        self._hold()

    def _hold(self):
        self.counter.add(1, 0)
        self.file = open(os.devnull)  # noqa: SIM115
        self.process = None
        if self.counter.made % 400 == 0:
            self.process = subprocess.Popen(["sleep", "600"])

    def reset(self, *, seed=None, options=None):
        self.fault, self.good = "", 0
        assert seed is not None
        if seed % 100 == 0:
            raise RuntimeError("no data")
        if seed % 100 == 1:
            time.sleep(HANG_S)
        return (user("go"),), {}

    def fork(self, *, seed=None):
        twin = super().fork(seed=seed)
        twin._hold()
        fault = fault_of(np_random(seed)[0].random())
        if fault == "fork":
            twin.good = 7  # another initial state
        if fault == "late_fork":
            time.sleep(HANG_S)
        return twin

    @property
    def privileged(self):
        if self.fault == "secret":
            raise ValueError("secret")
        return Privileged()

    def step(self, action):
        if self.turn == 0:
            self.fault = fault_of(self.np_random.random())
        self.good += 1
        end = self.turn == 1
        result = (user("on"),), 0.5, end, False, {}
        return self._broken(result) if self.fault and end else result

    def _broken(self, result):
        match self.fault:
            case "raise":
                raise KeyError("bug")
            case "judge":
                raise JudgeFailure("no verdict")
            case "simulator":
                raise SimulatorFailure("no answer")
            case "judge_timeout":
                call(Mute(), Context(episode="judge"), timeout_s=0.05)
            case "hang":
                time.sleep(HANG_S)
        return {
            "garbage": "garbage",
            "text": ((Message(role="user", content=None),), 0.5, True, False, {}),
            "nan": ((), float("nan"), True, False, {}),
            "huge": ((), 1e300, True, False, {}),
            "outcome": ((), 0.5, True, False, {"outcome": float("-inf")}),
            "unjson": ((), 0.5, True, False, {"object": self}),
        }.get(self.fault, result)

    def close(self):
        if self.file is None:
            raise AssertionError("closed twice")
        self.file.close()
        self.file = None
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.counter.add(0, 1)


class Endpoint:
    """A model endpoint with faults of its own, which is down for a while and comes back."""

    def __init__(self, down):
        self.down, self.calls, self.refused = down, 0, set()

    async def act(self, context, *, sampling, seed):
        await asyncio.sleep(0)
        self.calls += 1
        if self.calls in self.down:
            self.refused.add(context.episode)
            raise ConnectionRefusedError("endpoint is down")
        logprob = -1.0
        match seed % 1000:
            case 0:
                raise InfraFailure("502")
            case 1:
                return None
            case 2:
                logprob = float("nan")
        message = Message(role="assistant", content="ok")
        return Completion(message=message, reply_ids=[1], reply_logprobs=[logprob])


def expected(group: Group, member: int) -> str:
    """The status of an episode while the endpoint is up."""
    if group.seed % 100 < 2:
        return ["env_error", "infra_timeout"][group.seed % 100]
    fault = fault_of(np_random(derive(group.seed, member))[0].random())
    if fault in ("fork", "late_fork"):
        return STATUS[fault]
    if any(derive(group.seed, member, turn) % 1000 < 3 for turn in range(2)):
        return "infra_error"
    return STATUS.get(fault, "terminated")


def rss() -> int:
    """Resident MiB of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() >> 20


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


def children() -> int:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return len(file.read().split())


def settle(condition, seconds=10.0):
    """Wait for what ends in threads of its own."""
    until = time.time() + seconds
    while not condition() and time.time() < until:
        time.sleep(0.02)
    assert condition()


async def play(number: int, size: int, counter: Open, endpoint: Endpoint) -> Counter:
    """One rollout of `size` episodes, checked; its statuses."""
    groups = [
        Group(key=f"{number}/{index}", seed=derive("soak", number, index), size=4)
        for index in range(size // 4)
    ]
    ended = []
    config = RolloutConfig(step_timeout_s=HANG_S / 2, deterministic=number % 2 == 0)
    done = await arollout(
        lambda: Faulty(counter), endpoint, groups, config, on_episode=ended.append
    )
    assert [t.episode for t in done] == [f"{g.key}/{m}" for g in groups for m in range(4)]
    assert sorted(t.episode for t in ended) == sorted(t.episode for t in done)
    wrong = {}
    for trajectory, (group, member) in zip(
        done, ((g, m) for g in groups for m in range(4)), strict=True
    ):
        want = expected(group, member)
        if trajectory.episode in endpoint.refused and trajectory.status == "infra_error":
            continue
        if trajectory.status != want:
            wrong[trajectory.episode] = (trajectory.status, want, trajectory.error[-300:])
            continue
        fine = (1.0, True) if want == "terminated" else (None, None)
        assert (trajectory.outcome, trajectory.success) == fine
        assert bool(trajectory.error) == (want != "terminated")
    assert not wrong
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return Counter(t.status.value for t in done)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts handles in /proc: no CUDA, no Linux")
def test_ten_thousand_episodes():
    counter, statuses, memory = Open(), Counter(), []
    call(Endpoint(range(0)), Context(episode="warm"), seed=7)  # the bridge's thread stays
    threads, files, processes = threading.active_count(), handles(), children()
    endpoint = Endpoint(range(5000, 5100))
    for number in range(10):
        statuses += asyncio.run(play(number, 1000, counter, endpoint))
        settle(lambda: counter.made == counter.closed)
        settle(lambda: threading.active_count() <= threads)
        gc.collect()
        assert handles() <= files and children() <= processes
        memory.append(rss())
    assert sum(statuses.values()) == 10_000
    assert 300 < 10_000 - statuses["terminated"] - len(endpoint.refused) < 1500
    assert len(endpoint.refused) > 50  # and those after them were served again
    assert set(statuses) >= set(STATUS.values()) | {"infra_error", "terminated"}
    assert memory[-1] - memory[2] < 10, memory
