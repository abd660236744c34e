"""Rollouts: groups that start alike, budgets, and failures that stay in their own episode."""

import asyncio
import threading
import time

import pytest

from guess import Guess
from turngym import TextEnv
from turngym.errors import JudgeFailure, SimulatorFailure, UsageError
from turngym.trainers.rollout import Group, RolloutConfig, arollout, rollout
from turngym.types import Completion, EpisodeStatus, Message, TurnStatus, user


class Bisect:
    """Finds the number of Guess by halving, reading only what it is told."""

    async def act(self, context, *, sampling, seed):
        low, high = 1, 100
        for turn, hint in zip(
            context.turns,
            [t.seen[0].content for t in context.turns[1:]] + [context.new[0].content],
            strict=False,
        ):
            guess = int(turn.completion.message.content)
            low, high = (guess + 1, high) if hint == "higher" else (low, guess - 1)
        return Completion(message=Message(role="assistant", content=str((low + high) // 2)))


class Always(TextEnv):
    """Says something and lets `act` decide what happens; used to inject faults."""

    def __init__(self, act=lambda env: None, on_close=lambda: None):
        self.act, self.on_close = act, on_close

    shared = frozenset({"act", "on_close"})

    def reset(self, *, seed=None, options=None):
        return (user("go"),), {}

    def step(self, action):
        result = self.act(self)
        return ((), 1.0, True, False, {}) if result is None else result

    def close(self):
        self.on_close()


def groups(count, size=1):
    return [Group(key=f"g{i}", seed=i, size=size) for i in range(count)]


def test_a_perfect_player_solves_every_episode_and_members_start_alike():
    seen = []
    done = rollout(Guess, Bisect(), groups(3, size=4), on_episode=seen.append)
    assert [t.episode for t in done] == [f"g{i}/{m}" for i in range(3) for m in range(4)]
    assert sorted(t.episode for t in seen) == sorted(t.episode for t in done)
    for start in range(0, 12, 4):
        assert len({t.fingerprint for t in done[start : start + 4]}) == 1
    assert all(t.success and t.outcome == 1.0 for t in done)
    assert all(t.status is EpisodeStatus.TERMINATED for t in done)
    assert done[0].turns[1].exchange == 1 and done[0].turns[1].reward is None
    assert done[0].closing[0].content == "Right."


def test_truncation_is_not_termination_and_counts():
    class Silly:
        async def act(self, context, *, sampling, seed):
            return Completion(message=Message(role="assistant", content="no number"))

    (t,) = rollout(Guess, Silly(), groups(1))
    assert t.status is EpisodeStatus.TRUNCATED and t.success is False and t.outcome == 0.0
    assert len(t.turns) == 8 and t.turns[0].status is TurnStatus.INVALID_ACTION


def fail(error):
    def act(env):
        raise error

    return act


@pytest.mark.parametrize(
    ("act", "status"),
    [
        (fail(KeyError("bug")), EpisodeStatus.ENV_ERROR),
        (fail(JudgeFailure("x")), EpisodeStatus.JUDGE_ERROR),
        (fail(SimulatorFailure("x")), EpisodeStatus.SIMULATOR_ERROR),
        (lambda env: "garbage", EpisodeStatus.ENV_ERROR),
        (lambda env: ((), float("nan"), True, False, {}), EpisodeStatus.ENV_ERROR),
        (lambda env: ((), 0.0, True, False, {"outcome": float("inf")}), EpisodeStatus.ENV_ERROR),
        (lambda env: ((), 0.0, True, False, {"x": object()}), EpisodeStatus.ENV_ERROR),
        (lambda env: (("text",), 0.0, True, False, {}), EpisodeStatus.ENV_ERROR),
        (lambda env: time.sleep(1.5), EpisodeStatus.INFRA_TIMEOUT),
    ],
)
def test_a_broken_environment_is_a_status_never_a_zero(act, status):
    made = []

    def make():
        made.append(None)
        return Always(act) if len(made) == 1 else Always()

    config = RolloutConfig(step_timeout_s=0.3)
    bad, good = rollout(make, Bisect(), groups(2), config)
    assert bad.status is status and bad.outcome is None and bad.success is None and bad.error
    assert good.status is EpisodeStatus.TERMINATED and good.outcome == 1.0


def test_a_reset_that_fails_gives_each_member_a_status():
    class Broken(Guess):
        def reset(self, *, seed=None, options=None):
            raise RuntimeError("no data")

    done = rollout(Broken, Bisect(), groups(1, size=3))
    assert [t.status for t in done] == [EpisodeStatus.ENV_ERROR] * 3
    assert "no data" in done[0].error


def test_a_fork_that_starts_elsewhere_is_refused():
    class Drifting(Guess):
        def set_state(self, state):
            super().set_state(state)
            self.target += 1

    done = rollout(Drifting, Bisect(), groups(1, size=2))
    assert {t.status for t in done} == {EpisodeStatus.ENV_ERROR}
    assert "another state" in done[0].error


def test_a_slow_agent_times_out_and_it_is_its_own_failure():
    class Slow:
        async def act(self, context, *, sampling, seed):
            await asyncio.sleep(5)

    (t,) = rollout(Guess, Slow(), groups(1), RolloutConfig(act_timeout_s=0.05))
    assert t.status is EpisodeStatus.AGENT_TIMEOUT and t.outcome == 0.0


@pytest.mark.parametrize("deterministic", [True, False])
def test_no_more_episodes_than_allowed_run_at_once(deterministic):
    class Counting:
        now = most = 0

        async def act(self, context, *, sampling, seed):
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.005)
            self.now -= 1
            return Completion(message=Message(role="assistant", content="1"))

    agent = Counting()
    config = RolloutConfig(concurrency=3, deterministic=deterministic)
    assert len(rollout(Guess, agent, groups(3, size=4), config)) == 12
    assert agent.most == 3


def test_a_barrier_agent_knows_every_member_of_the_wave_before_anyone_asks():
    class Barrier(Bisect):
        def __init__(self):
            self.live, self.asked_with = set(), []

        def begin(self, episode):
            self.live.add(episode)

        def release(self, episode):
            self.live.remove(episode)

        async def act(self, context, **rest):
            if not context.turns:
                self.asked_with.append(len(self.live))
            return await super().act(context, **rest)

    agent = Barrier()
    rollout(Guess, agent, groups(2, size=2), RolloutConfig(concurrency=4))
    assert max(agent.asked_with) == 4 and not agent.live


def test_cancelling_reports_what_was_running_and_keeps_what_was_done():
    ended = []

    class Stuck(Bisect):
        async def act(self, context, **rest):
            if context.episode == "g1/0" and context.turns:
                await asyncio.sleep(60)
            return await super().act(context, **rest)

    async def main():
        work = asyncio.create_task(arollout(Guess, Stuck(), groups(2), on_episode=ended.append))
        while not ended:
            await asyncio.sleep(0.01)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(main())
    statuses = {t.episode: (t.status, len(t.turns)) for t in ended}
    assert statuses["g0/0"][0] is EpisodeStatus.TERMINATED
    assert statuses["g1/0"] == (EpisodeStatus.CANCELLED, 1)


def test_every_environment_is_closed_once_even_after_a_hang():
    closed, lock = [], threading.Lock()

    def on_close():
        with lock:
            closed.append(None)

    release = threading.Event()

    def hang(env):
        release.wait(5)

    config = RolloutConfig(step_timeout_s=0.2)
    rollout(lambda: Always(hang, on_close), Bisect(), groups(1, size=2), config)
    release.set()
    deadline = time.time() + 5
    while len(closed) < 3 and time.time() < deadline:
        time.sleep(0.01)
    assert len(closed) == 3  # two members and their origin


def test_same_seeds_give_the_same_trajectories():
    def strip(t):
        return (t.episode, t.turns, t.outcome, t.fingerprint, t.status)

    first, second = (rollout(Guess, Bisect(), groups(4, size=2)) for _ in range(2))
    assert [strip(t) for t in first] == [strip(t) for t in second]


def test_inside_a_running_loop_the_async_form_is_named():
    async def main():
        with pytest.raises(UsageError, match="arollout"):
            rollout(Guess, Bisect(), groups(1))

    asyncio.run(main())
