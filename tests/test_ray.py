"""Ray: environments and evaluations on the raylets of a local cluster, of which some are killed."""

import os
import signal
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest

from ray_cluster import Count, Sampler, raylet_of, start_cluster
from turngym.errors import ConfigError
from turngym.trainers.rollout import Group, RolloutConfig, rollout
from turngym.types import EpisodeStatus

ray = pytest.importorskip("ray", reason="needs the ray environment: .ci/ray")
pytestmark = [
    pytest.mark.ray,
    # Ray leaves sockets and files to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def cluster():
    started, nodes = start_cluster()
    yield started
    ray.shutdown()
    started.shutdown()


def groups(count, size=1):
    return [Group(key=f"g{i}", seed=i, size=size, task_id=f"train-{i}") for i in range(count)]


def timeless(trajectories):
    return [replace(t, seconds=0.0) for t in trajectories]


def test_episodes_on_a_cluster_are_those_of_this_process(cluster):
    here = rollout(Count, Sampler(), groups(4, size=3))
    assert len({t.turns[0].completion.reply_ids[0] for t in here}) > 4  # replies do differ
    for count in (1, 2):
        workers = f"ray:{count}@{cluster.address}"
        seen = []
        there = rollout(
            Count,
            Sampler(),
            groups(4, size=3),
            RolloutConfig(workers=workers),
            on_episode=seen.append,
        )
        assert not there[0].error, there[0].error
        assert timeless(there) == timeless(here)
        assert Counter(t.episode for t in seen) == Counter(t.episode for t in here)
