"""A local Ray cluster of real raylets, each standing for a machine, and environments to run on it."""

import hashlib
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from turngym import TextEnv
from turngym.envs.env import StepResult
from turngym.envs.swe.predictions import Prediction
from turngym.errors import JudgeFailure
from turngym.types import Completion, Message, Privileged, user

MEGABYTE = 2**20


class Machines:
    """Two raylets of one CPU each; the first is the head, the second one can be killed."""

    def __init__(self):
        from ray.cluster_utils import Cluster

        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        # Stands for packages that are installed on every machine.
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, map(str, sys.path)))
        self.small = {"object_store_memory": 80 * MEGABYTE, "include_dashboard": False}
        # A dead raylet is noticed in two seconds, not in the fifteen that suit a real network.
        quick = {"health_check_period_ms": 700, "health_check_failure_threshold": 3}
        head = {"num_cpus": 1, "_system_config": quick, **self.small}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.second = None
        self.mend()

    @property
    def address(self):
        return self.cluster.address

    def mend(self):
        """Have the second raylet again."""
        if self.second is None:
            self.second = self.cluster.add_node(num_cpus=1, **self.small)

    def kill_second(self, log, after):
        """SIGKILL for the second raylet and its workers, as when a machine loses power.

        It happens in the background, in the middle of what a new line in `log` says is done there
        once there are `after` lines. Left alone, workers outlive their raylet by a second or two and
        may end what they do.
        """
        node, self.second = self.second, None
        raylet = node.all_processes["raylet"][0].process

        def wait_and_kill():
            until = time.monotonic() + 60
            while len(found := lines(log)) < after or found[-1][-1] != str(raylet.pid):
                if time.monotonic() > until:
                    return  # nothing is done there: the test will miss what the death costs
                time.sleep(0.005)
            for process in (*_children(raylet.pid), raylet.pid):
                os.kill(process, signal.SIGKILL)
            raylet.wait()

        killer = threading.Thread(target=wait_and_kill)
        killer.start()
        return killer

    def stop(self):
        self.cluster.shutdown()


def _children(parent):
    """Process ids, from Linux."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                yield int(stat.parent.name)


def write_line(log, *words):
    """Who does what: the words, and the process ids of worker and raylet."""
    line = " ".join(map(str, (*words, os.getpid(), os.getppid())))
    with Path(log).open("a") as file:  # one short write: lines of processes stay whole
        file.write(f"{line}\n")


def lines(log):
    """The words of each line."""
    path = Path(log)
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


class Count(TextEnv):
    """Count to a number that the seed chooses. Each step leaves a line in `log`."""

    max_turns = 12

    def __init__(self, log: str = "", wait_s: float = 0.0, poison: str = "", fault: str = ""):
        super().__init__()
        self.log, self.wait_s, self.poison, self.fault = log, wait_s, poison, fault
        self.task, self.goal, self.at = "", 0, 0

    shared = frozenset({"log", "wait_s", "poison", "fault"})

    def tasks(self, split="train"):
        return [f"{split}-{i}" for i in range(32)]

    @property
    def privileged(self):
        return Privileged(references=(str(self.goal),), hidden_state={"at": self.at})

    def reset(self, *, seed=None, options=None):
        self.task = (options or {}).get("task_id") or "none"
        self.goal, self.at = int(self.np_random.integers(4, 9)), 0
        return (user(f"Count to {self.goal}."),), {"task_id": self.task}

    def step(self, action) -> StepResult:
        if self.log:
            write_line(self.log, self.task, self.at)
        if self.task == self.poison:
            os._exit(1)
        if self.task == self.fault:
            raise JudgeFailure("the judge is out")
        time.sleep(self.wait_s)
        self.at += 1
        noise = int(self.np_random.integers(1000))
        info = {"turn_reward": noise / 1000, "rewards": {"noise": noise / 1000}}
        if self.at == self.goal:
            done = info | {"outcome": float(len(action.content) % 2), "success": noise > 300}
            return (user("There."),), 1.0, True, False, done
        return (user(f"{self.at}, and {noise}. Go on."),), 0.0, False, False, info


class Sampler:
    """Replies whose words, ids and log-probabilities hang on context and seed, and on all of both."""

    async def act(self, context, *, sampling, seed):
        said = repr((context.messages, seed, sampling.temperature)).encode()
        dice = hashlib.sha256(said).digest()
        return Completion(
            message=Message(role="assistant", content=dice.hex()[: 8 + dice[0] % 8]),
            new_prompt_ids=list(said[:9]),
            reply_ids=list(dice[:6]),
            reply_logprobs=[-(value + 1) / 7 for value in dice[:6]],
            opens_segment=not context.turns,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow(Prediction):
    """An answer that takes its time and writes down who evaluates it, without a container.

    Every third one is empty; the others would change a file outside of the repository.
    """

    log: str
    wait_s: float = 0.0
    deadly: bool = False

    @property
    def empty(self):
        write_line(self.log, self.instance_id)
        if self.deadly:
            os._exit(1)
        time.sleep(self.wait_s)
        return int(self.instance_id.rpartition("-")[2]) % 3 == 0
