"""Ray: environments and evaluations on the raylets of a local cluster, of which some are killed."""

import json
import threading
from collections import Counter
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from ray_cluster import Count, Machines, Sampler, Slow, lines
from swe_docker import require_docker
from swe_task import FILES, ROW
from turngym.cli import app
from turngym.envs.fleet.cluster import MOVES, RayWorkers
from turngym.envs.swe.evaluate import EvalSettings
from turngym.envs.swe.run import RunSettings, run_evaluation
from turngym.envs.swe.tasks import task_of
from turngym.errors import ConfigError
from turngym.serial import read_jsonl
from turngym.trainers.rollout import Group, RolloutConfig, rollout
from turngym.types import EpisodeStatus

ray = pytest.importorskip("ray", reason="needs the ray environment: .ci/ray")
pytestmark = [
    pytest.mark.ray,
    # Ray leaves sockets and files to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def _machines():
    started = Machines()
    yield started
    ray.shutdown()
    started.stop()


@pytest.fixture
def machines(_machines):
    _machines.mend()
    return _machines


def groups(count, size=1):
    return [Group(key=f"g{i}", seed=i, size=size, task_id=f"train-{i}") for i in range(count)]


def timeless(trajectories):
    return [replace(t, seconds=0.0) for t in trajectories]


def on(machines, count=2, **settings):
    return RolloutConfig(workers=f"ray:{count}@{machines.address}", **settings)


def test_episodes_are_those_of_this_process_whatever_the_number_of_workers(machines):
    here = rollout(Count, Sampler(), groups(4, size=3))
    assert len({t.turns[0].completion.reply_ids[0] for t in here}) > 4  # replies do differ
    for count in (1, 2):
        for deterministic in (True, False):
            seen = []
            there = rollout(
                Count,
                Sampler(),
                groups(4, size=3),
                on(machines, count, concurrency=5, deterministic=deterministic),
                on_episode=seen.append,
            )
            assert not there[0].error, there[0].error
            assert timeless(there) == timeless(here)
            assert Counter(t.episode for t in seen) == Counter(t.episode for t in here)


def test_work_is_shared_and_no_more_is_in_flight_than_was_allowed(machines, tmp_path):
    log = tmp_path / "log"
    done = []
    alive = []

    class Watched(Sampler):
        async def act(self, context, *, sampling, seed):
            alive.append(len({context.episode for context in begun.values()} - set(done)))
            begun[context.episode] = context
            return await super().act(context, sampling=sampling, seed=seed)

    begun = {}
    config = on(machines, concurrency=4, deterministic=False)
    rollout(
        lambda: Count(log=str(log), wait_s=0.01),
        Watched(),
        groups(12),
        config,
        on_episode=lambda t: done.append(t.episode),
    )
    assert len(done) == 12 and max(alive) <= 4
    steps = Counter(pid for _, _, pid, _ in lines(log))
    assert len(steps) == 2 and min(steps.values()) > sum(steps.values()) / 4


def test_a_machine_dies_and_every_episode_ends_once_as_if_it_had_not(machines, tmp_path):
    log = tmp_path / "log"
    here = rollout(Count, Sampler(), groups(6, size=2))
    seen = []
    killer = machines.kill_second(log, after=20)
    config = on(machines, concurrency=6, deterministic=False)
    make = lambda: Count(log=str(log), wait_s=0.1)  # noqa: E731
    there = rollout(make, Sampler(), groups(6, size=2), config, on_episode=seen.append)
    killer.join()
    assert [t.error for t in there] == [""] * 12
    assert timeless(there) == timeless(here)
    assert Counter(t.episode for t in seen) == Counter({t.episode: 1 for t in here})
    begun = Counter(task for task, at, *_ in lines(log) if at == "0")
    assert max(begun.values()) > 2  # two of a group, and those that were begun again


def test_an_episode_that_kills_every_worker_is_given_up_and_no_reward(machines, tmp_path):
    log = tmp_path / "log"
    config = on(machines, concurrency=1)
    make = lambda: Count(log=str(log), poison="train-1")  # noqa: E731
    ended = rollout(make, Sampler(), groups(3), config)
    assert [t.status.value for t in ended] == ["terminated", "infra_error", "terminated"]
    assert ended[1].outcome is None and ended[1].success is None
    assert "Ray worker" in ended[1].error
    assert sum(task == "train-1" for task, *_ in lines(log)) == MOVES + 1


def test_what_an_environment_raises_keeps_its_status_and_its_words(machines):
    make = lambda: Count(fault="train-0")  # noqa: E731
    ended = rollout(make, Sampler(), groups(2), on(machines))
    assert [t.status for t in ended] == [EpisodeStatus.JUDGE_ERROR, EpisodeStatus.TERMINATED]
    assert ended[0].error.rstrip().endswith("JudgeFailure: the judge is out")


def test_a_group_whose_state_does_not_come_back_is_no_group(machines, tmp_path):
    """A new reset that begins elsewhere must not join its siblings."""
    log = tmp_path / "log"
    log.touch()

    class Fickle(Count):
        shared = Count.shared | {"first"}

        def reset(self, *, seed=None, options=None):
            begun = super().reset(seed=seed, options=options)
            self.goal += log.stat().st_size  # differs once a step was made
            return begun

    make = lambda: Fickle(log=str(log), poison="train-0")  # noqa: E731
    (ended,) = rollout(make, Sampler(), groups(1), on(machines))
    assert ended.status is EpisodeStatus.ENV_ERROR and "another state" in ended.error


def test_what_the_workers_cannot_load_is_one_message(machines):
    class Stubborn:
        def __reduce__(self):
            return __import__, ("nowhere_to_be_found",)

    stubborn = Stubborn()
    with pytest.raises(ConfigError, match=r"cannot load .*nowhere_to_be_found.*every node"):
        rollout(lambda: Count(stubborn), Sampler(), groups(1), on(machines))
    held = threading.Lock()
    with pytest.raises(ConfigError, match="cannot be sent to Ray workers"):
        rollout(lambda: Count(held), Sampler(), groups(1), on(machines))


def test_the_command_line_plays_the_same_on_a_cluster(machines, tmp_path):
    command = ["rollout", "turngym/WebShop-v0", "size=demo", "--agent", "expert:0.3"]
    command += ["--episodes", "6", "--out"]
    for name, more in (("here", []), ("there", ["--workers", f"ray:2@{machines.address}"])):
        done = CliRunner().invoke(app, [*command, str(tmp_path / name), *more])
        assert done.exit_code == 0, done.output
    here, there = (
        {t.episode: replace(t, seconds=0.0) for t in read_jsonl(tmp_path / name)}
        for name in ("here", "there")
    )
    assert len(here) == 6
    for key, trajectory in here.items():
        untimed = [replace(turn, completion=untimely(turn)) for turn in trajectory.turns]
        assert untimed == [replace(turn, completion=untimely(turn)) for turn in there[key].turns]
        assert replace(trajectory, turns=()) == replace(there[key], turns=())


def untimely(turn):
    return replace(turn.completion, seconds=0.0)


def test_training_on_a_cluster_is_training_here_and_goes_on_elsewhere(machines, tmp_path):
    """Tokens, log-probabilities and so weights: the policy never leaves this process."""
    command = ["train", "web_shop", "steps=2", "groups_per_step=2", "group_size=2"]
    command += ["evaluation.episodes=0", "threads=1"]
    where = f"rollout.workers=ray:2@{machines.address}"
    for name, more in (("here", []), ("there", [where])):
        done = CliRunner().invoke(app, [*command, *more, "--out", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
    for name in ("metrics.jsonl", "checkpoints/step-000002/model.safetensors"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()
    played = [
        {
            t.episode: [(x.completion.reply_ids, x.completion.reply_logprobs) for x in t.turns]
            for t in read_jsonl(tmp_path / name / "trajectories/step-000000.jsonl")
        }
        for name in ("here", "there")
    ]
    assert played[0] == played[1] and len(played[0]) == 4
    command[2] = "steps=3"
    there = ["--out", str(tmp_path / "there"), "--resume"]
    assert CliRunner().invoke(app, [*command, *there]).exit_code == 0


# SWE evaluation


@pytest.fixture
def tasks():
    return [task_of(ROW | {"instance_id": f"tiny__sums-{i}"}) for i in range(9)]


def answers(tasks, log, **more):
    patch = "--- a/../x\n+++ b/../x\n@@ -1 +1 @@\n-a\n+b\n"
    return [Slow(instance_id=task.instance_id, patch=patch, log=str(log), **more) for task in tasks]


def verdicts(report):
    return {key: value for key, value in report.items() if key.endswith("_ids")}


def test_evaluations_are_done_once_each_though_a_machine_dies(machines, tasks, tmp_path):
    here = run_evaluation(tasks, answers(tasks, tmp_path / "a"), RunSettings(out=tmp_path / "a.d"))
    assert len(here["empty_patch_ids"]) == 3 and len(here["error_ids"]) == 6
    log, seen = tmp_path / "b", []
    where = RayWorkers(count=2, address=machines.address)
    settings = RunSettings(out=tmp_path / "b.d", workers=where)
    killer = machines.kill_second(log, after=4)
    slow = answers(tasks, log, wait_s=0.5)
    there = run_evaluation(tasks, slow, settings, lambda r: seen.append(r.instance_id))
    killer.join()
    assert verdicts(there) == verdicts(here)
    assert sorted(seen) == sorted(task.instance_id for task in tasks)
    done = len(lines(log))
    assert done > len(tasks)  # what was under way on that machine was done again
    again = run_evaluation(tasks, slow, replace(settings, resume=True))
    assert verdicts(again) == verdicts(here) and len(lines(log)) == done


def test_an_answer_that_kills_its_workers_is_an_infra_failure(machines, tasks, tmp_path):
    given = answers(tasks[:3], tmp_path / "log")
    given[1] = replace(given[1], deadly=True)
    where = RayWorkers(count=1, address=machines.address)
    report = run_evaluation(tasks, given, RunSettings(out=tmp_path / "out", workers=where))
    assert report["infra_failure_ids"] == ["tiny__sums-1"]
    assert "died" in report["failure_reasons"]["tiny__sums-1"]
    assert len(report["empty_patch_ids"]) == 1 and len(report["error_ids"]) == 1


def test_a_limit_for_images_is_refused_with_workers_elsewhere(tasks, tmp_path):
    from turngym.envs.sandbox.images import Images

    images = object.__new__(Images)
    settings = RunSettings(
        out=tmp_path, workers=RayWorkers(count=1), evaluation=EvalSettings(images=images)
    )
    with pytest.raises(ConfigError, match="--disk-gb.*every node"):
        run_evaluation(tasks, [], settings)


def test_the_command_line_evaluates_on_a_cluster(machines, tasks, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps(ROW) + "\n")
    where = f"ray:2@{machines.address}"
    command = ["swe", "eval", "--dataset", str(rows), "--predictions", "empty"]
    done = CliRunner().invoke(app, [*command, "--workers", where, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "tiny__sums-1: empty_patch" in done.output


@pytest.mark.docker
def test_containers_on_a_cluster(machines, tmp_path):
    """Agents and graders in workers; reports, logs and predictions in this process's folder."""
    require_docker()
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps(ROW | {"files": FILES}) + "\n")
    where = ["--dataset", str(rows), "--workers", f"ray:2@{machines.address}", "--timeout", "60"]
    played = tmp_path / "played"
    done = CliRunner().invoke(app, ["swe", "run", "--agent", "gold", "--out", str(played), *where])
    assert done.exit_code == 0 and "tiny__sums-1: resolved, 2 turns" in done.output, done.output
    (episode,) = read_jsonl(played / "trajectories.jsonl")
    assert episode.success and episode.env_id == "SWE"
    folder = "logs/run_evaluation/run/gold/tiny__sums-1"
    assert "test_total" in (played / folder / "test_output.txt").read_text()
    answers = ["--predictions", str(played / "predictions.jsonl")]
    graded = tmp_path / "graded"
    done = CliRunner().invoke(app, ["swe", "eval", *answers, "--out", str(graded), *where])
    assert done.exit_code == 0, done.output
    bodies = [
        json.loads((out / folder / "report.json").read_text())["tiny__sums-1"]
        for out in (played, graded)
    ]
    assert bodies[0]["tests_status"] == bodies[1]["tests_status"]
    assert all(body["resolved"] for body in bodies)


def test_an_address_where_nothing_answers_is_one_message(tmp_path):
    code = CliRunner().invoke(
        app, ["rollout", "turngym/WebShop-v0", "size=demo", "--workers", "ray:2@127.0.0.1:1"]
    )
    assert code.exit_code == 2 and "Ray cluster" in code.output and len(code.output) < 400
