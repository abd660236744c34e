"""Environments over OpenEnv, played with its own client.

Runs in the environment of served clients: `.ci/requirements-served.txt`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from turngym import TextEnv
from turngym.errors import InfraFailure
from turngym.types import Privileged, user

pytestmark = [pytest.mark.served, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

REASON = "needs the served environment (.ci/requirements-served.txt)"


class Count(TextEnv):
    """Count up from a hidden start; three right numbers end it."""

    def reset(self, *, seed=None, options=None):
        self.number, self.right = int(self.np_random.integers(0, 1000)), 0
        return (user(f"The first number is {self.number}."),), {"task_id": f"from-{self.number}"}

    def step(self, action):
        if action.content != str(self.number + 1):
            return (user("No."),), 0.0, False, False, {"status": "invalid_action"}
        self.number, self.right = self.number + 1, self.right + 1
        done = self.right == 3
        info = {"turn_reward": 1.0} | ({"outcome": 1.0} if done else {})
        return (user("Yes."),), float(done), done, False, info

    @property
    def privileged(self):
        return Privileged(notes="the secret of the judges")


def serve(app: Any) -> tuple[Any, int]:
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    return server, server.servers[0].sockets[0].getsockname()[1]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    pytest.importorskip("openenv", reason=REASON)
    from turngym.envs.serve.openenv_server import openenv_app

    server, port = serve(openenv_app(Count, "test/Count-v0", max_sessions=32))
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True


def client(url: str) -> Any:
    from openenv.core.generic_client import GenericEnvClient

    return GenericEnvClient(base_url=url).sync()


def play(url: str, seed: int) -> list[Any]:
    with client(url) as session:
        result = session.reset(seed=seed)
        number = int(result.observation["messages"][0]["content"].split()[-1].rstrip("."))
        said = [result.observation["messages"][0]["content"]]
        for _ in range(3):
            number += 1
            result = session.step({"content": str(number)})
            said.append((result.observation["messages"][0]["content"], result.reward, result.done))
        return said


def test_openenvs_own_client_plays_an_episode(url):
    said = play(url, seed=7)
    assert said[1:] == [("Yes.", 0.0, False), ("Yes.", 0.0, False), ("Yes.", 1.0, True)]
    env = Count()
    assert said[0] == env.reset(seed=7)[0][0].content


def test_sixteen_sessions_at_a_time_do_not_mix(url):
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda seed: play(url, seed), range(16)))
    assert [each[0] for each in found] == [Count().reset(seed=s)[0][0].content for s in range(16)]
    assert all(each[3][2] for each in found)


def test_terminated_and_truncated_are_told_apart_and_nothing_hidden_is_sent(url):
    with client(url) as session:
        first = session.reset(seed=1)
        second = session.step({"content": "wrong"})
        state = session.state()
    assert second.metadata["status"] == "invalid_action"
    assert (second.metadata["terminated"], second.metadata["truncated"]) == (False, False)
    assert "secret" not in f"{first} {second} {state}"
    assert state["step_count"] == 1


def test_a_bad_action_is_an_error_and_the_session_goes_on(url):
    with client(url) as session:
        session.reset(seed=1)
        with pytest.raises(RuntimeError, match=r"(?i)validation|extra"):
            session.step({"contents": "a typo"})
        assert session.step({"content": "0"}).observation["messages"][0]["content"] == "No."


def test_our_client_is_an_environment_like_any_other(url):
    from turngym.envs.serve.openenv_client import OpenEnvEnv

    far, near = OpenEnvEnv(url), Count()
    new, _ = far.reset(seed=3)
    expected, _ = near.reset(seed=3)
    assert new == expected
    number = near.number
    far.step(str(number + 1))
    twin = far.fork()
    assert twin.fingerprint() == far.fingerprint()
    # The fork has what was done before it, and goes its own way.
    assert twin.step("nonsense")[4]["status"] == "invalid_action"
    for env in (far, twin):
        env.step(str(number + 2))
        messages, reward, terminated, truncated, info = env.step(str(number + 3))
        assert (reward, terminated, truncated, info["outcome"]) == (1.0, True, False, 1.0)
        assert messages == (user("Yes."),)
        env.close()


def test_a_group_is_rolled_out_over_the_wire(url):
    from turngym.agents.scripted import ScriptedAgent
    from turngym.envs.serve.openenv_client import OpenEnvEnv
    from turngym.trainers.rollout import Group, rollout

    def count(context):
        start = int(context.messages[0].content.split()[-1].rstrip("."))
        return str(start + 1 + len(context.turns))

    played = rollout(
        lambda: OpenEnvEnv(url), ScriptedAgent(count), [Group(key="g", seed=5, size=4)]
    )
    assert [t.outcome for t in played] == [1.0] * 4
    assert len({t.fingerprint for t in played}) == 1


def test_a_server_that_is_gone_is_no_fault_of_the_agent():
    pytest.importorskip("openenv", reason=REASON)
    from turngym.envs.serve.openenv_client import OpenEnvEnv

    with pytest.raises(InfraFailure, match="does not answer"):
        OpenEnvEnv("http://127.0.0.1:9").reset(seed=0)
