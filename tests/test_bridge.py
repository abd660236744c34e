"""turngym.call: many threads, one loop, errors and time limits."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import turngym
from turngym.bridge import run
from turngym.errors import InfraTimeout, SimulatorFailure, UsageError
from turngym.types import Completion, Context, assistant, user

CONTEXT = Context(episode="1", new=(user("hello"),))


class SimulatedUser:
    """Answers with what it was told after `seconds`; counts how many wait at once."""

    def __init__(self, seconds=0.0):
        self.seconds, self.waiting, self.most, self.cancelled = seconds, 0, 0, 0

    async def act(self, context, *, sampling, seed):
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1
        return Completion(message=assistant(f"{context.new[0].content} {seed}"))


def test_512_simulated_users_of_50_ms_answer_a_turn_in_half_a_second():
    person = SimulatedUser(0.05)
    times, done = [], []
    with ThreadPoolExecutor(max_workers=512) as threads:
        for _ in range(3):  # the first round starts the threads too
            start = time.perf_counter()
            done = list(threads.map(lambda n: turngym.call(person, CONTEXT, seed=n), range(512)))
            times.append(time.perf_counter() - start)
    assert [answer.message.content for answer in done] == [f"hello {n}" for n in range(512)]
    assert person.most > 256  # they did wait together
    assert min(times) < 0.5


def test_it_works_inside_a_running_loop():
    async def main():
        return turngym.call(SimulatedUser(), CONTEXT).message.content

    assert asyncio.run(main()) == "hello 0"


def test_it_refuses_to_block_its_own_loop():
    class Nested:
        async def act(self, context, *, sampling, seed):
            return turngym.call(SimulatedUser(), context)

    with pytest.raises(UsageError, match="await the agent instead"):
        turngym.call(Nested(), CONTEXT)


@pytest.mark.parametrize("error", [SimulatorFailure("3 tries"), TimeoutError("the agent's own")])
def test_what_the_agent_raises_comes_through_unchanged(error):
    class Broken:
        async def act(self, context, *, sampling, seed):
            raise error

    with pytest.raises(type(error)) as caught:
        turngym.call(Broken(), CONTEXT, timeout_s=5)
    assert type(caught.value) is type(error) and caught.value.args == error.args


def test_a_late_agent_is_cancelled_and_is_a_failure_of_the_infrastructure():
    person = SimulatedUser(30)
    with pytest.raises(InfraTimeout, match=r"no answer in 0\.05 s"):
        turngym.call(person, CONTEXT, timeout_s=0.05)
    deadline = time.perf_counter() + 5
    while not person.cancelled and time.perf_counter() < deadline:
        time.sleep(0.005)
    assert (person.cancelled, person.waiting) == (1, 0)


def test_all_callers_share_one_loop_in_one_thread():
    async def where():
        return id(asyncio.get_running_loop()), threading.current_thread().name

    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: run(where()), range(32)))
    assert len(found) == 1 and found.pop()[1] == "turngym-bridge"
