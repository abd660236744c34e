"""Episodes recorded in sierra-research/tau-bench, replayed: observations, end state, diff, reward."""

import dataclasses
import gzip
import json
import os
from pathlib import Path

import pytest

from turngym.envs.tool_use.conversation import Ending, SideCall
from turngym.envs.tool_use.state import changes
from turngym.envs.tool_use.tau_bench import (
    TauTask,
    gold_hash,
    load_retail,
    observe,
    replay,
    score,
    tau_hash,
)
from turngym.envs.tool_use.tau_retail import RETAIL
from turngym.envs.tool_use.tau_tasks import TauTasks, load_tau_tasks
from turngym.errors import DataError
from turngym.types import ToolCall

SHARED = Path(
    os.environ.get("TURNGYM_SHARED") or Path(__file__).resolve().parents[1].parent / "shared"
)
FOLDER = SHARED / "fixtures" / "tau_bench"
needs_fixtures = pytest.mark.skipif(
    not (FOLDER / "retail_episodes.json").exists(), reason="no recorded tau-bench episodes here"
)


def as_call(row):
    return ToolCall(id="1", name=row["name"], arguments=row["kwargs"])


@pytest.fixture(scope="module")
def db():
    return json.loads(gzip.decompress((FOLDER / "retail_db.json.gz").read_bytes()))


@pytest.fixture(scope="module")
def episodes():
    tasks = json.loads((FOLDER / "retail_episodes.json").read_text())["tasks"]
    return [(task, name, episode) for task in tasks for name, episode in task["episodes"].items()]


@needs_fixtures
def test_every_recorded_episode_replays_to_the_letter(db, episodes):
    assert len(episodes) > 60
    kinds, gold = set(), {}
    for row, name, episode in episodes:
        where = f"{row['task_id']}/{name}"
        task = TauTask(
            user_id=row["user_id"],
            instruction=row["instruction"],
            actions=tuple(map(as_call, row["gold_actions"])),
            outputs=tuple(row["outputs"]),
        )
        acted = [step for step in episode["steps"] if step["name"] != "respond"]
        said = [step["kwargs"]["content"] for step in episode["steps"] if step["name"] == "respond"]
        observations, end = replay(db, tuple(map(as_call, acted)))
        if row["task_id"] not in gold:
            gold[row["task_id"]] = gold_hash(db, task)
        result = score(end, said, task, gold[row["task_id"]])
        assert list(observations) == [step["observation"] for step in acted], where
        assert result.state_hash == episode["final_hash"], where
        assert result.reward == episode["reward"], where
        found = [sort_keys(dataclasses.asdict(change)) for change in changes(db, end)]
        wanted = [
            sort_keys({"before": None, "after": None, **change}) for change in episode["final_diff"]
        ]
        assert sorted(map(json.dumps, found)) == sorted(map(json.dumps, wanted)), where
        info = episode["reward_info"]
        assert result.gold_hash == info.get("gt_data_hash", result.gold_hash), where
        assert result.outputs == info.get("outputs", {}), where
        kinds.add(name)
    assert kinds >= {"gold", "altered_argument", "drop_last_write", "unwanted_write"}


def sort_keys(change):
    return dict(sorted(change.items()))


@needs_fixtures
def test_the_replay_leaves_the_database_as_it_was(db, episodes):
    row, _, _ = episodes[0]
    assert tau_hash(db) == row["initial_hash"]


@needs_fixtures
def test_the_tools_take_the_arguments_of_the_recorded_schemas():
    recorded = json.loads((FOLDER / "tool_schemas_retail.json").read_text())["retail"]
    ours = {schema["function"]["name"]: schema["function"] for schema in RETAIL.schemas}
    assert set(ours) == {schema["function"]["name"] for schema in recorded}
    for schema in (each["function"] for each in recorded):
        mine = ours[schema["name"]]["parameters"]
        assert set(mine["properties"]) == set(schema["parameters"]["properties"])
        assert set(mine.get("required", [])) == set(schema["parameters"]["required"])
        for name, part in schema["parameters"]["properties"].items():
            assert mine["properties"][name]["type"] == part["type"]
            assert mine["properties"][name].get("enum") == part.get("enum")


SHOP = {
    "orders": {
        "#1": {
            "order_id": "#1",
            "user_id": "ann",
            "address": {},
            "items": [
                {"product_id": "p", "item_id": "a", "price": 10.0, "options": {"size": "S"}},
                {"product_id": "p", "item_id": "a", "price": 10.0, "options": {"size": "S"}},
            ],
            "status": "pending",
            "payment_history": [
                {"transaction_type": "payment", "amount": 20.0, "payment_method_id": "gift_card_1"}
            ],
        }
    },
    "products": {
        "p": {
            "name": "Cup",
            "variants": {
                "a": {"item_id": "a", "price": 10.0, "available": True, "options": {"size": "S"}},
                "b": {"item_id": "b", "price": 13.1, "available": True, "options": {"size": "L"}},
                "c": {"item_id": "c", "price": 99.0, "available": True, "options": {}},
                "d": {"item_id": "d", "price": 10.0, "available": False, "options": {}},
            },
        }
    },
    "users": {
        "ann": {
            "payment_methods": {
                "gift_card_1": {"source": "gift_card", "balance": 5.0},
                "card": {"source": "credit_card"},
            }
        }
    },
}


def shop():
    return json.loads(json.dumps(SHOP))


def ask(db, name, **kwargs):
    return observe(db, ToolCall(id="1", name=name, arguments=kwargs))


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 + 2", "4.0"),
        ("-(1.5 - 4) * 3", "7.5"),
        ("1 / 3", "0.33"),
        ("2 ** 3", "Error: invalid syntax"),
        ("1 / 0", "Error: division by zero"),
        ("__import__('os')", "Error: invalid characters in expression"),
    ],
)
def test_arithmetic_is_computed_not_evaluated(expression, value):
    assert ask({}, "calculate", expression=expression) == value


def test_gift_cards_are_charged_and_refunded():
    db = shop()
    modify = {"order_id": "#1", "item_ids": ["a"], "payment_method_id": "gift_card_1"}
    card = db["users"]["ann"]["payment_methods"]["gift_card_1"]
    before = shop()
    assert "gift card balance" in ask(
        db, "modify_pending_order_items", new_item_ids=["c"], **modify
    )
    assert "not found or available" in ask(
        db, "modify_pending_order_items", new_item_ids=["d"], **modify
    )
    assert db == before
    ask(db, "modify_pending_order_items", new_item_ids=["b"], **modify)
    assert card["balance"] == 1.9
    assert [item["item_id"] for item in db["orders"]["#1"]["items"]] == ["b", "a"]
    db = shop()
    ask(db, "cancel_pending_order", order_id="#1", reason="no longer needed")
    assert db["users"]["ann"]["payment_methods"]["gift_card_1"]["balance"] == 25.0


def test_arguments_that_python_would_refuse_are_told_as_python_tells_them():
    assert ask(shop(), "modify_pending_order_payment") == (
        "Error: ModifyPendingOrderPayment.invoke() missing 2 required positional arguments: "
        "'order_id' and 'payment_method_id'"
    )
    wrong = ask(
        shop(),
        "modify_pending_order_items",
        order_id="#1",
        item_ids=None,
        new_item_ids=["b"],
        payment_method_id="card",
    )
    assert wrong.startswith("Error: ")


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(DataError, match=r"orders\.json"):
        load_retail(tmp_path)


@needs_fixtures
def test_tasks_are_read_from_json_and_played_as_conversations(db):
    """Gold calls earn 1, the same without the last write 0."""
    tasks = load_tau_tasks(FOLDER / "retail_episodes.json")
    assert len(tasks) == 10
    source = TauTasks(db, "policy", tasks)
    for key, task in tasks.items():
        writes = [n for n, each in enumerate(task.actions) if RETAIL.tools[each.name].writes]
        cases = [(task.actions, 1.0)]
        if writes:  # one task wants nothing written
            cases.append(((*task.actions[: writes[-1]], *task.actions[writes[-1] + 1 :]), 0.0))
        for calls, wanted in cases:
            ending = Ending(
                calls=tuple(SideCall(side="assistant", call=each) for each in calls),
                replies=task.outputs,
                messages=(),
            )
            assert source.find(key).score(ending)[0] == wanted, key
        assert source.find(key).scenario == task.instruction


def test_rows_that_are_no_tasks_are_named(tmp_path):
    path = tmp_path / "tasks.json"
    path.write_text('[{"user_id": "u", "actions": []}]')
    with pytest.raises(DataError, match="task 0: KeyError: 'instruction'"):
        load_tau_tasks(path)
    path.write_text("{}")
    with pytest.raises(DataError, match="no list of tasks"):
        load_tau_tasks(path)
