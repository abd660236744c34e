"""Workers on other machines, as far as it can be seen without Ray: the far side, and lost episodes."""

import asyncio
import sys
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_cluster import Count, Sampler
from turngym import TextEnv
from turngym.agents.hf import HFAgent
from turngym.agents.load import load_model
from turngym.config import parse
from turngym.envs.fleet.cluster import MOVES, RayWorkers, connect, parse_workers
from turngym.envs.fleet.host import Host
from turngym.errors import (
    ConfigError,
    EnvironmentFailure,
    InfraTimeout,
    JudgeFailure,
    MissingExtraError,
    UnknownNameError,
    WorkerLost,
)
from turngym.trainers.rollout import Group, RolloutConfig, rollout
from turngym.types import EpisodeStatus, Privileged, Sampling, assistant, user


def groups(count, size=1):
    sampling = Sampling(max_new_tokens=4)
    return [Group(key=f"g{i}", seed=i, size=size, sampling=sampling) for i in range(count)]


def timeless(trajectories):
    return [replace(t, seconds=0.0) for t in trajectories]


# What a setting says


def test_workers_are_threads_or_of_a_cluster():
    assert parse_workers("4") == 4
    assert parse_workers("ray:8") == RayWorkers(count=8)
    assert parse_workers("ray:2@10.0.0.1:6379") == RayWorkers(count=2, address="10.0.0.1:6379")
    for workers in (RayWorkers(count=8), RayWorkers(count=2, address="h:1")):
        assert parse_workers(str(workers)) == workers


@pytest.mark.parametrize("text", ["0", "-1", "ray:0", "ray", "ray:x", "ray:2@", "rey:2", "2 "])
def test_anything_else_is_refused_where_it_is_written(text):
    with pytest.raises(ConfigError, match="ray:NUMBER"):
        parse_workers(text)
    with pytest.raises(ConfigError, match="workers"):
        parse(RolloutConfig, {"workers": text})


def test_threads_are_no_place_for_rollouts():
    with pytest.raises(ConfigError, match="concurrency = 4"):
        parse(RolloutConfig, {"workers": "4"})


def test_without_ray_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'turngym\[ray\]'"):
        connect("")
    with pytest.raises(MissingExtraError):
        rollout(Count, Sampler(), groups(1), RolloutConfig(workers="ray:2"))


# Episodes whose worker dies


class Mortal(Count):
    """Its worker dies at the steps whose numbers, over all environments, are in `deaths`."""

    def __init__(self, deaths, clock, closed):
        super().__init__()
        self.deaths, self.clock, self.closed = deaths, clock, closed

    shared = Count.shared | {"deaths", "clock", "closed"}

    def step(self, action):
        self.clock.append(None)
        if len(self.clock) in self.deaths:
            raise WorkerLost("gone")
        return super().step(action)

    def close(self):
        self.closed.append(None)


@settings(max_examples=25, deadline=None)
@given(
    deaths=st.sets(st.integers(1, 60), max_size=MOVES),
    size=st.integers(1, 3),
    concurrency=st.integers(1, 6),
    deterministic=st.booleans(),
)
def test_a_lost_episode_is_played_again_to_the_same_end(deaths, size, concurrency, deterministic):
    """Lost ones that are dropped, reported twice or drawn with other seeds would show."""
    seen, clock, closed = [], [], []
    config = RolloutConfig(concurrency=concurrency, deterministic=deterministic)
    undisturbed = rollout(Count, Sampler(), groups(3, size), config)
    played = rollout(
        lambda: Mortal(deaths, clock, closed),
        Sampler(),
        groups(3, size),
        config,
        on_episode=seen.append,
    )
    # Environments are named by their classes here.
    assert timeless(replace(t, env_id="Count") for t in played) == timeless(undisturbed)
    assert Counter(t.episode for t in seen) == Counter(t.episode for t in played)


def test_after_so_many_deaths_an_episode_is_no_ones_fault():
    clock: list[None] = []
    (ended,) = rollout(lambda: Mortal(range(100), clock, []), Sampler(), groups(1))
    assert ended.status is EpisodeStatus.INFRA_ERROR and ended.outcome is None
    assert len(clock) == MOVES + 1 and "WorkerLost: gone" in ended.error


def test_a_death_while_a_group_begins_costs_nothing():
    """The reset of a group is lost before any member plays."""
    died = []

    class Late(Count):
        def reset(self, *, seed=None, options=None):
            if not died:
                died.append(None)
                raise WorkerLost("gone")
            return super().reset(seed=seed, options=options)

    played = rollout(Late, Sampler(), groups(2, 3))
    undisturbed = rollout(Count, Sampler(), groups(2, 3))
    assert timeless(replace(t, env_id="Count") for t in played) == timeless(undisturbed)
    assert len({t.fingerprint for t in played[:3]}) == 1


def test_other_failures_are_not_played_again():
    begun = []

    class Broken(Count):
        def step(self, action):
            begun.append(None)
            raise JudgeFailure("out")

    (ended,) = rollout(Broken, Sampler(), groups(1))
    assert ended.status is EpisodeStatus.JUDGE_ERROR and len(begun) == 1


def test_an_agent_that_forms_batches_goes_on_with_an_episode_played_again(tiny_path):
    """Its barrier must wait for the episode again, and must not keep the cache of the lost one."""
    model, tokenizer = load_model(str(tiny_path))

    def play(make):
        agent = HFAgent(model, tokenizer, deterministic=True)
        return rollout(make, agent, groups(2, 2), RolloutConfig(concurrency=4))

    undisturbed = play(Count)
    clock: list[None] = []
    lost = play(lambda: Mortal({7}, clock, []))
    for one, other in zip(undisturbed, lost, strict=True):
        assert other.status.counts
        replies = [[t.completion.reply_ids for t in each.turns] for each in (one, other)]
        assert replies[0] == replies[1]
        for a, b in zip(one.turns, other.turns, strict=True):
            # Other batches: other last bits.
            assert list(a.completion.reply_logprobs) == pytest.approx(
                list(b.completion.reply_logprobs), abs=1e-5
            )


# The far side


class Talks(TextEnv):
    """Tells what happens to it."""

    def __init__(self, tell, closed):
        self.tell, self.closed, self.secret = tell, closed, 0

    shared = frozenset({"tell", "closed"})

    @property
    def privileged(self):
        return Privileged(hidden_state={"secret": self.secret})

    def reset(self, *, seed=None, options=None):
        self.tell("reset")
        return (user("go"),), {}

    def step(self, action):
        self.tell(action.content)
        match action.content:
            case "late":
                raise TimeoutError("too late")
            case "name":
                raise UnknownNameError("thing", "thnig", ["thing"])
            case "own":
                raise type("Own", (InfraTimeout,), {})("mine")
            case "slow":
                time.sleep(0.2)
                self.closed.append("stepped")
            case "learn":
                self.secret += 1
        return (user("on"),), 0.0, False, False, {}

    def close(self):
        self.closed.append("closed")


def on_a_host(script):
    """Run `script(host, make)` and give what the environments did when they were closed."""
    closed: list[str] = []

    def make(tell):
        return Talks(tell, closed)

    asyncio.run(script(Host(), make))
    return closed


def test_failures_travel_as_errors_of_ours():
    async def script(host, make):
        await host.reset(1, make, 0, {})
        for word, kind in (("late", InfraTimeout), ("own", InfraTimeout)):
            assert (await host.step(1, assistant(word))).failure.kind is kind
        failure = (await host.step(1, assistant("name"))).failure
        assert failure.kind is EnvironmentFailure and failure.text.endswith("Known: thing.")
        assert str(failure.kind(failure.text)) == failure.text

    on_a_host(script)


def test_what_is_told_is_heard_once_even_with_a_failure():
    async def script(host, make):
        assert (await host.reset(1, make, 0, {})).heard == ("reset",)
        assert (await host.step(1, assistant("hi"))).heard == ("hi",)
        assert (await host.step(1, assistant("late"))).heard == ("late",)
        assert (await host.step(1, assistant("hi"))).heard == ("hi",)

    on_a_host(script)


def test_secrets_travel_when_they_change():
    async def script(host, make):
        assert (await host.reset(1, make, 0, {})).told.privileged.hidden_state == {"secret": 0}
        assert (await host.step(1, assistant("hi"))).told is None
        learned = await host.step(1, assistant("learn"))
        assert learned.told.privileged.hidden_state == {"secret": 1}
        fork = await host.fork(1, 2, None)
        assert fork.told.privileged.hidden_state == {"secret": 1}  # the near side knows nothing yet

    on_a_host(script)


def test_a_worker_that_began_anew_says_so():
    async def script(host, make):
        for reply in (
            await host.step(7, assistant("hi")),
            await host.fork(7, 8, None),
            await host.fingerprint(7),
        ):
            assert reply.failure.kind is WorkerLost
        await host.close(7)

    on_a_host(script)


def test_an_environment_is_closed_after_the_step_that_it_is_in():
    async def script(host, make):
        await host.reset(1, make, 0, {})
        stepping = asyncio.create_task(host.step(1, assistant("slow")))
        await asyncio.sleep(0.05)
        await host.close(1)
        assert stepping.done()

    assert on_a_host(script) == ["stepped", "closed"]


def test_one_slow_step_holds_up_no_other():
    async def script(host, make):
        await asyncio.gather(host.reset(1, make, 0, {}), host.reset(2, make, 0, {}))
        began = time.perf_counter()
        await asyncio.gather(*(host.step(key, assistant("slow")) for key in (1, 2)))
        assert time.perf_counter() - began < 0.35
        assert threading.active_count() < 20

    on_a_host(script)
