"""tau2-bench: gold replays of retail, mock and telecom, mutations of them, recorded rollouts re-scored."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from turngym.envs.tool_use.conversation import SideCall
from turngym.envs.tool_use.tau2.domains import load_domain, start_state
from turngym.envs.tool_use.tau2.score import replay, score
from turngym.envs.tool_use.tau2.tasks import load_tasks, task_from_json
from turngym.errors import DataError, UnknownNameError
from turngym.types import ToolCall

ROOT = Path(os.environ.get("TURNGYM_SHARED") or Path(__file__).resolve().parents[2] / "shared")
SHARED = ROOT / "data"
needs_data = pytest.mark.skipif(not (SHARED / "tau2").exists(), reason="needs the tau2 files")
FILES = {"mock": "tasks.json", "retail": "tasks.json", "telecom": "tasks_small.json"}


@pytest.fixture(scope="module")
def loaded():
    def load(name):
        domain = load_domain(name, SHARED / "tau2" / name)
        tasks = load_tasks(SHARED / "tau2" / name / FILES[name])
        return domain, {task.id: task for task in tasks}

    return {name: load(name) for name in FILES}


def yes(sentence):
    return True


def gold_calls(task):
    return [
        SideCall(side=a.requestor, call=ToolCall(id="1", name=a.name, arguments=a.arguments))
        for a in task.actions or ()
    ]


# Whose gold actions do not do all that the task wants, and why.
INCOMPLETE = {
    "update_task_with_history_and_env_assertions": "names no action, yet asserts one was done",
}
# Writes that a later one of the same task sets back: with or without them the end is the same.
OVERWRITTEN = {("22", 1), ("110", 1)}
# Gold calls that fail, which the reference's replay takes in its stride: look-ups with a wrong key on the
# way (a product id where an item id is meant, a mistyped address), and two writes that the shop refuses.
FAILING = {
    *("2", "3", "4", "35", "37", "38", "39", "46", "47", "54", "55", "64", "67", "68", "105"),
}


def writes(domain, each):
    return domain.toolbox(each.side).tools[each.call.name].writes


@needs_data
@pytest.mark.parametrize(("name", "number"), [("mock", 10), ("retail", 114), ("telecom", 20)])
def test_gold_actions_earn_the_whole_reward(loaded, name, number):
    domain, tasks = loaded[name]
    assert len(tasks) == number
    for task in tasks.values():
        calls = gold_calls(task)
        got = score(domain, task, calls, task.outputs, judge=yes)
        assert got.reward == float(task.id not in INCOMPLETE), (task.id, got)
        assert all(got.actions)


@needs_data
@pytest.mark.slow
def test_which_gold_calls_of_retail_fail(loaded):
    domain, tasks = loaded["retail"]
    for task in tasks.values():
        _, results = replay(domain, task, gold_calls(task))
        assert all(result.ok for result in results) != (task.id in FAILING), task.id


@needs_data
@pytest.mark.parametrize(
    "name", ["mock", pytest.param("retail", marks=pytest.mark.slow), "telecom"]
)
def test_a_write_left_out_is_seen(loaded, name):
    domain, tasks = loaded[name]
    tried = 0
    for task in tasks.values():
        calls = gold_calls(task)
        for place, each in enumerate(calls):
            if (task.id, place) in OVERWRITTEN or not writes(domain, each):
                continue
            _, results = replay(domain, task, calls[: place + 1])
            if not results[-1].ok:
                continue
            tried += 1
            got = score(domain, task, [*calls[:place], *calls[place + 1 :]], task.outputs)
            assert (got.components["DB"], all(got.actions)) == (0, False), (task.id, place)
    assert tried >= {"mock": 5, "retail": 150, "telecom": 20}[name]


@needs_data
def test_no_telecom_task_is_solved_by_doing_nothing(loaded):
    domain, tasks = loaded["telecom"]
    for task in tasks.values():
        got = score(domain, task, [], ())
        assert got.reward == 0.0, task.id


@needs_data
def test_every_step_of_a_telecom_repair_is_needed(loaded):
    """The phone works only after the last of the gold actions: an independent look at our phone."""
    domain, tasks = loaded["telecom"]
    needless = set()
    for task in tasks.values():
        calls = gold_calls(task)
        for place in range(len(calls)):
            cut = [*calls[:place], *calls[place + 1 :]]
            if score(domain, task, cut, ()).reward == 1.0:
                needless.add((task.id, calls[place].call.name))
    assert needless == set()


def rollouts():
    path = SHARED / "nemo_gym/tau2__example_rollouts.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def recorded_calls(row):
    """The calls of a rollout with what they gave, as text."""
    outputs = {m["id"]: m["content"] for m in row["result"]["messages"] if m["role"] == "tool"}
    return [
        (
            SideCall(
                side=call.get("requestor") or "assistant",
                call=ToolCall(id=call["id"], name=call["name"], arguments=call["arguments"]),
            ),
            outputs[call["id"]],
        )
        for message in row["result"]["messages"]
        for call in message.get("tool_calls") or ()
    ]


def as_data(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


# Place in the file -> domain that we have, or why the rollout cannot be re-scored by replay.
RECORDED = {0: "retail", 1: "telecom", 3: "telecom", 4: "telecom"}
WITHOUT_A_DATABASE = {2: "airline, whose database is not among the files"}


@needs_data
@pytest.mark.parametrize("place", RECORDED)
def test_recorded_rollouts_give_the_same_outputs_and_checks(loaded, place):
    row, (domain, _) = rollouts()[place], loaded[RECORDED[place]]
    task = task_from_json(row["task"])
    recorded = recorded_calls(row)
    _, results = replay(domain, task, [each for each, _ in recorded])
    for (each, text), result in zip(recorded, results, strict=True):
        assert result.value == as_data(text), each.call.name
    replies = [m["content"] or "" for m in row["result"]["messages"] if m["role"] == "assistant"]
    got = score(
        domain,
        task,
        [each for each, _ in recorded],
        replies,
        termination=row["result"]["termination_reason"],
    )
    info = row["result"]["reward_info"]
    assert got.reward == info["reward"] == row["reward"]
    assert got.components["DB"] == info["db_check"]["db_reward"]
    assert [check["action_match"] for check in info["action_checks"]] == list(got.actions)
    assert [check["met"] for check in info["env_assertions"]] == list(got.assertions)
    assert {n: got.components[n] for n in info["reward_basis"]} == info["reward_breakdown"]


@needs_data
def test_the_rollout_without_a_database_wrote_nothing_and_nothing_was_wanted():
    """So that its DB check can be told without a database: equal."""
    (place,) = WITHOUT_A_DATABASE
    row = rollouts()[place]
    names = {each.call.name for each, _ in recorded_calls(row)}
    assert names == {"get_user_details", "get_reservation_details"}
    assert task_from_json(row["task"]).actions == ()
    assert row["result"]["reward_info"]["db_check"]["db_match"]


@needs_data
def test_the_scene_is_set_by_data_actions_and_history(loaded):
    domain, tasks = loaded["mock"]
    by_data = start_state(domain, tasks["update_task_with_initialization_data"])
    by_action = start_state(domain, tasks["update_task_with_initialization_actions"])
    by_history = start_state(domain, tasks["update_task_with_message_history"])
    assert by_data == by_action == by_history
    assert by_data["users"]["user_1"]["tasks"] == ["task_1", "task_2"]
    assert by_data["users"]["user_1"]["name"] == "Test User"
    assert domain.state["tasks"].keys() == {"task_1"}


@needs_data
def test_checks_outside_the_basis_are_shown_and_a_judge_that_is_missing_is_no_zero(loaded):
    domain, tasks = loaded["mock"]
    task = tasks["impossible_task_1"]
    got = score(domain, task, [], ())
    assert (got.reward, got.components["DB"], got.components["ACTION"]) == (0.0, 1.0, 0.0)
    assert score(domain, replace(task, basis=("DB",)), [], ()).components["ACTION"] == 0.0
    judged = replace(tasks["create_task_1"], basis=("DB", "NL_ASSERTION"))
    calls = gold_calls(judged)
    assert score(domain, judged, calls, ()).reward is None
    assert score(domain, judged, calls, (), judge=yes).reward == 1.0
    assert score(domain, judged, calls, (), judge=lambda text: False).reward == 0.0
    assert score(domain, judged, calls, (), judge=yes, termination="max_steps").reward == 0.0


@needs_data
def test_an_unknown_tool_is_a_failed_call_and_not_a_lost_episode(loaded):
    """The reference raises in the replay, and the episode drops out of pass^k (PR#273)."""
    domain, tasks = loaded["mock"]
    task = tasks["update_task_1"]
    made_up = SideCall(side="assistant", call=ToolCall(id="1", name="delete_task", arguments={}))
    state, results = replay(domain, task, [made_up, *gold_calls(task)])
    assert [result.code for result in results] == ["unknown_tool", None]
    assert score(domain, task, [made_up, *gold_calls(task)], task.outputs).components["DB"] == 1
    assert state["tasks"]["task_1"]["status"] == "completed"


def test_what_is_no_task_and_what_is_no_domain_is_said(tmp_path):
    with pytest.raises(DataError, match="task 3: KeyError: 'id'"):
        task_from_json({}, "task 3")
    with pytest.raises(DataError, match=r"unknown reward basis \['DBS'\]"):
        task_from_json({"id": "1", "evaluation_criteria": {"reward_basis": ["DBS"]}})
    with pytest.raises(UnknownNameError, match="Did you mean 'retail'"):
        load_domain("retails", tmp_path)
    with pytest.raises(DataError, match="cannot read"):
        load_domain("mock", tmp_path)
    (tmp_path / "tasks.json").write_text("{}")
    with pytest.raises(DataError, match="expected a list"):
        load_tasks(tmp_path / "tasks.json")
