"""tau2-bench's reward basis: by hand, on recorded conversations, and its gold calls in our retail tools."""

import json
import os
import pickle
from pathlib import Path

import pytest

from turngym.envs.tool_use.tau_bench import observe
from turngym.envs.tool_use.tau_retail import RETAIL
from turngym.errors import JudgeFailure
from turngym.rewards.tool_basis import DEFAULT_BASIS, GoldAction, action_checks, basis_reward
from turngym.types import ToolCall

SHARED = Path(
    os.environ.get("TURNGYM_SHARED") or Path(__file__).resolve().parents[1].parent / "shared"
)
ROLLOUTS = SHARED / "data" / "nemo_gym" / "tau2__example_rollouts.jsonl"
RETAIL_FILES = SHARED / "data" / "tau2" / "retail"


def call(name, **arguments):
    return ToolCall(id="1", name=name, arguments=arguments)


@pytest.mark.parametrize(
    ("components", "basis", "end", "reward"),
    [
        ({"DB": 1.0, "COMMUNICATE": 1.0}, DEFAULT_BASIS, "user_stop", 1.0),
        ({"DB": 1.0, "COMMUNICATE": 0.0}, DEFAULT_BASIS, "agent_stop", 0.0),
        ({"DB": 1.0, "ACTION": 0.0}, ("DB",), "agent_stop", 1.0),
        ({"DB": 0.5, "ACTION": 0.5}, ("DB", "ACTION"), "agent_stop", 0.25),
        ({"DB": 1.0, "COMMUNICATE": 1.0}, DEFAULT_BASIS, "max_steps", 0.0),
        ({}, (), "user_stop", 1.0),
    ],
)
def test_the_reward_is_the_product_over_the_basis(components, basis, end, reward):
    assert basis_reward(components, basis, end) == reward


def test_a_judge_without_verdict_gives_no_reward_at_all():
    with pytest.raises(JudgeFailure, match="NL_ASSERTION"):
        basis_reward({"DB": 1.0, "NL_ASSERTION": None}, ("DB", "NL_ASSERTION"))


def test_actions_are_matched_by_name_requestor_and_arguments():
    gold = (
        GoldAction(name="f", arguments={"a": 1, "b": 2}),
        GoldAction(name="f", arguments={"a": 1, "text": "x"}, compare_args=("a",)),
        GoldAction(name="g", arguments={}, requestor="user"),
    )
    calls = {"assistant": (call("f", a=1, text="y"), call("g")), "user": ()}
    assert action_checks(gold, calls) == (False, True, False)
    assert action_checks(gold, {"assistant": (call("f", a=1, b=2),), "user": (call("g"),)}) == (
        True,
        True,
        True,
    )


def test_the_released_comparison_lets_a_call_without_arguments_pass():
    gold = (GoldAction(name="f", arguments={"a": 1}),)
    assert action_checks(gold, {"assistant": (call("f"),)}, "released") == (True,)
    assert action_checks(gold, {"assistant": (call("f"),)}) == (False,)
    for preset in ("strict", "released"):
        assert action_checks(gold, {"assistant": (call("f", a=2),)}, preset) == (False,)


@pytest.mark.skipif(not ROLLOUTS.exists(), reason="no recorded tau2-bench conversations here")
def test_recorded_conversations_get_their_recorded_checks_and_reward():
    rows = [json.loads(line)["result"] for line in ROLLOUTS.read_text().splitlines()]
    assert len(rows) == 5
    for row in rows:
        info = row["reward_info"]
        calls = {"assistant": [], "user": []}
        for message in row["messages"]:
            for made in message.get("tool_calls") or ():
                calls[message["role"]].append(call(made["name"], **made["arguments"]))
        checks = info["action_checks"] or ()
        gold = [
            GoldAction(
                name=check["action"]["name"],
                arguments=check["action"]["arguments"],
                requestor=check["action"]["requestor"],
                compare_args=check["action"]["compare_args"],
            )
            for check in checks
        ]
        found = action_checks(gold, calls, "released")
        assert list(found) == [check["action_match"] for check in checks]
        reward = basis_reward(
            info["reward_breakdown"], info["reward_basis"], row["termination_reason"]
        )
        assert reward == info["reward"]


@pytest.mark.skipif(not RETAIL_FILES.exists(), reason="no tau2-bench retail data here")
def test_tau2_gold_writes_are_accepted_by_the_retail_tools():
    """Arguments and rules of 114 independent tasks; the end states have nothing to compare with."""
    raw = pickle.dumps(json.loads((RETAIL_FILES / "db.json").read_text()))
    tasks = json.loads((RETAIL_FILES / "tasks.json").read_text())
    refused, writes = [], 0
    for task in tasks:
        db = pickle.loads(raw)
        for action in task["evaluation_criteria"]["actions"] or ():
            tool = RETAIL.tools.get(action["name"])
            if tool is not None and tool.writes:
                writes += 1
                result = observe(db, call(action["name"], **action["arguments"]))
                if not result.startswith("{"):
                    refused.append((task["id"], action["name"], result))
    assert (len(tasks), writes > 150) == (114, True)
    # Both by the policy: order #W7464385 is pending, and a gift card of 17.00 does not pay a difference
    # of 101.12 + 109.58 - 2 * 94.80 = 21.10.
    assert refused == [
        (
            "64",
            "exchange_delivered_order_items",
            "Error: non-delivered order cannot be exchanged",
        ),
        (
            "105",
            "exchange_delivered_order_items",
            "Error: insufficient gift card balance to pay for the price difference",
        ),
    ]
