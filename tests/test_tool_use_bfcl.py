"""BFCL multi-turn back-ends against the 200 base entries: schemas, gold replays, end states written by hand."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

import turngym
from turngym.envs.tool_use.bfcl.backends import (
    CLASSES,
    check_turns,
    compared,
    initial_state,
    replay,
    toolbox_of,
)
from turngym.envs.tool_use.bfcl.source import BfclTasks
from turngym.envs.tool_use.conversation import Conversation
from turngym.envs.tool_use.rows import BfclDialogue, load_bfcl_dialogues, parameter_names
from turngym.errors import UnknownNameError
from turngym.types import ToolCall, assistant

ROOT = Path(os.environ.get("TURNGYM_SHARED") or Path(__file__).resolve().parents[2] / "shared")
DATA = ROOT / "data/bfcl"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="needs the BFCL files")
DOCUMENTS = {
    "GorillaFileSystem": "gorilla_file_system",
    "MathAPI": "math_api",
    "MessageAPI": "message_api",
    "TicketAPI": "ticket_api",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "TwitterAPI": "posting_api",
    "VehicleControlAPI": "vehicle_control",
}


@pytest.fixture(scope="module")
def entries():
    names = parameter_names(DATA / "multi_turn_func_doc")
    questions = DATA / "BFCL_v4_multi_turn_base.json"
    answers = DATA / "possible_answer/BFCL_v4_multi_turn_base.json"
    rows = load_bfcl_dialogues(questions, answers, names)
    return {int(row.id.rpartition("_")[2]): row for row in rows}


def end_of(entry):
    return replay(entry, entry.gold_calls)[0][-1]


@needs_data
@pytest.mark.parametrize(("name", "file"), DOCUMENTS.items())
def test_every_documented_function_is_there_with_its_parameters(name, file):
    rows = map(json.loads, (DATA / f"multi_turn_func_doc/{file}.json").read_text().splitlines())
    documented = {row["name"]: row["parameters"] for row in rows}
    tools = CLASSES[name].toolbox.tools
    assert set(tools) == set(documented)
    for each, wanted in documented.items():
        own = tools[each].parameters
        assert set(own["properties"]) == set(wanted["properties"]), each
        assert set(own.get("required", ())) == set(wanted.get("required", ())), each


@needs_data
def test_gold_calls_run_without_an_error_and_pass_their_own_checks(entries):
    """1,142 calls; the one that fails gives a string where the schema wants a number (173)."""
    assert len(entries) == 200
    number, failed = 0, []
    for key, entry in entries.items():
        _, results = replay(entry, entry.gold_calls)
        number += sum(map(len, results))
        failed += [key for turn in results for result in turn if not result.ok]
        assert all(check.passed for check in check_turns(entry, entry.gold_calls)), key
    assert (number, failed) == (1142, [173])


@needs_data
def test_mutated_sequences_fail(entries):
    """Every write is left out once; only a touch is not missed where an echo makes the file as well."""
    writes = {
        name
        for backend in CLASSES.values()
        for name, tool in backend.toolbox.tools.items()
        if tool.writes
    }
    tried, missed = 0, []
    for entry in entries.values():
        for turn, calls in enumerate(entry.gold_calls):
            for place, call in enumerate(calls):
                if call.name not in writes:
                    continue
                cut = [*entry.gold_calls]
                cut[turn] = (*calls[:place], *calls[place + 1 :])
                tried += 1
                if all(check.passed for check in check_turns(entry, cut)):
                    missed.append((entry.id.rpartition("_")[2], call.name))
        nothing = check_turns(entry, [() for _ in entry.gold_calls])
        assert all(check.passed == check.skipped for check in nothing)
    assert tried > 400
    assert missed == [("6", "touch"), ("10", "touch"), *[("39", "touch")] * 3]


def walk(state, path):
    for part in path.split("/"):
        state = state[int(part)] if isinstance(state, list) else state[part]
    return state


FILES = "GorillaFileSystem/root"
CAR = "VehicleControlAPI"
# Written from reading the tasks, never from what the back-ends gave. Entry -> path -> value; a list of names
# stands for a directory's.
END_STATES = {
    0: {
        f"{FILES}/workspace/contents/document/contents": ["temp"],
        f"{FILES}/workspace/contents/document/contents/temp/contents": [
            "final_report.pdf",
            "previous_report.pdf",
        ],
    },
    1: {
        f"{FILES}/alex/contents/workspace/contents": [".hidden_file", "archive"],
        f"{FILES}/alex/contents/workspace/contents/archive/contents": ["log.txt"],
    },
    27: {
        "TicketAPI/ticket_queue/1/priority": 3,
        "TicketAPI/ticket_queue/1/title": "emergency",
        "TicketAPI/ticket_queue/2/priority": 5,
        "TicketAPI/ticket_queue/2/description": "Additional insights.",
    },
    39: {
        f"{FILES}/current_working_directory/contents/WebDevProjects/contents/styles.css/content": "Hello World!",
        f"{FILES}/current_working_directory/contents/WebDevProjects/contents/index.html/content": "Hi World!",
        f"{FILES}/current_working_directory/contents/WebDevProjects/contents/script.js/content": "Halo World!",
    },
    48: {"TicketAPI/ticket_queue/1/priority": 2, "TicketAPI/ticket_queue/0/priority": "High"},
    50: {
        f"{CAR}/headLightStatus": "on",
        f"{CAR}/doorStatus": dict.fromkeys(
            ("driver", "passenger", "rear_left", "rear_right"), "unlocked"
        ),
    },
    51: {
        f"{CAR}/engineState": "running",
        f"{CAR}/doorStatus/rear_left": "locked",
        "MessageAPI/current_user": "USR001",
        "MessageAPI/inbox/-1": {"USR002": "I am on my way to your place."},
    },
    56: {f"{CAR}/fuelLevel": 50.0, f"{CAR}/engineState": "running"},
    61: {f"{CAR}/fuelLevel": 49.0, f"{CAR}/engineState": "running"},
    63: {
        f"{CAR}/fuelLevel": 43.85,
        f"{CAR}/parkingBrakeStatus": "engaged",
        f"{CAR}/engineState": "running",
    },
    71: {f"{CAR}/fuelLevel": 50.0, f"{CAR}/destination": "Crescent Hollow, Spring, TX"},
    79: {f"{CAR}/cruiseStatus": "active", f"{CAR}/distanceToNextVehicle": 100},
    88: {f"{CAR}/fuelLevel": 50.0, f"{CAR}/parkingBrakeStatus": "engaged"},
    102: {
        "TradingBot/orders/12446/symbol": "TSLA",
        "TradingBot/orders/12446/price": 700,
        "TradingBot/orders/12446/status": "Cancelled",
        "TicketAPI/ticket_queue/0/title": "Account Information Error",
        "TicketAPI/ticket_queue/0/created_by": "John",
    },
    105: {"TradingBot/watch_list": ["NVDA", "AAPL", "GOOG", "MSFT"]},
    113: {"TradingBot/watch_list": ["NVDA", "QUAS"]},
    119: {"TradingBot/orders/12446/status": "Cancelled"},
    121: {
        "TradingBot/orders/12446/symbol": "AAPL",
        "TradingBot/orders/12446/amount": 150,
        "TradingBot/orders/12446/price": 227.16,
    },
    122: {"TradingBot/authenticated": False, "TradingBot/orders/12446/status": "Cancelled"},
    150: {"TravelAPI/budget_limit": 22000.0},  # 15,400 pounds at 0.7 to the dollar
    151: {
        "TravelAPI/credit_card_list/144756014165/balance": 3200.0,  # paid and refunded
        "TravelAPI/booking_record": {},
        "TwitterAPI/tweets/10/content": "Just cancelled my trip to LA",
        "TwitterAPI/tweets/10/tags": ["#TravelUpdate", "#BusinessTrip"],
    },
    155: {"TravelAPI/credit_card_list/id15583/balance": 15000.0 - 2400.0 - 120.0},
    160: {"TravelAPI/budget_limit": 2857.14},
    172: {
        "TravelAPI/access_token": "251675",
        "TravelAPI/user_first_name": "Maxwell",
        "TravelAPI/credit_card_list/391310425148/cardholder_name": "Maxwell Edison",
    },
    175: {
        "TravelAPI/credit_card_list/card_3487/balance": 3600.0,  # 400 for SFO to LAX, as 151 says
        "TravelAPI/booking_record/3426812/travel_date": "2026-11-25",
        "TwitterAPI/retweets/john": [10],
    },
    193: {
        "TravelAPI/booking_record": {},
        "TravelAPI/credit_card_list/credit_9988/balance": 10000.0,
        "TicketAPI/ticket_queue/0/id": 1001,
        "TicketAPI/ticket_queue/0/priority": 4,
    },
    196: {"TravelAPI/budget_limit": 7142.86, "TicketAPI/ticket_queue/0/status": "Resolved"},
}


@needs_data
@pytest.mark.parametrize("key", END_STATES)
def test_end_states_written_by_hand(entries, key):
    state = compared(end_of(entries[key]))
    for path, wanted in END_STATES[key].items():
        found = walk(state, path)
        if isinstance(found, dict) and isinstance(wanted, list):
            found = sorted(found)
        assert found == wanted, (path, found)


# What a later gold call writes down is a result of the original system. Entry, turn, call -> part of the result.
REVEALED = {
    (6, 3, 0): '"count":9',
    (15, 3, 0): '"count":3',
    (15, 3, 1): '"count":16',
    (15, 3, 2): '"count":60',
    (28, 2, 0): "205",
    (29, 0, 1): "79",
    (31, 1, 1): '"count":37',
    (32, 0, 1): '"count":36',
    (32, 1, 0): '"result":2.0',
    (34, 1, 1): "3333.33",
    (41, 0, 1): "Meeting notes and project details.",
    (49, 2, 0): '"count":20',
    (57, 0, 2): "630.0",
    (62, 0, 2): "750.0",
    (63, 0, 0): "43.85",
    (65, 0, 0): "3.96",
    (67, 0, 2): "780.0",
    (74, 0, 0): "10.03",  # 10.0385, rounded to 10.04
    (81, 0, 0): "2.64",
    (151, 0, 0): "400.0",
    (160, 0, 0): "2857.14",
    (162, 2, 0): "420.0",
    (172, 0, 0): "251675",
    (172, 1, 0): "391310425148",
    (173, 0, 0): "2400.0",
    (174, 0, 0): "2800.0",
    (174, 1, 0): "498276044",
    (178, 0, 0): "262919693687",
}


@needs_data
def test_results_that_later_gold_calls_reveal(entries):
    for (key, turn, place), wanted in REVEALED.items():
        _, results = replay(entries[key], entries[key].gold_calls)
        assert wanted in results[turn][place].content, (key, turn, place)


@needs_data
def test_differences_of_files_are_written_as_users_quote_them(entries):
    """8 and 35 ask to post or store the output of diff word for word."""
    for key, turn in ((8, 1), (35, 2)):
        entry = entries[key]
        _, results = replay(entry, entry.gold_calls)
        shown = next(
            r
            for c, r in zip(entry.gold_calls[turn], results[turn], strict=True)
            if c.name == "diff"
        )
        texts = [c.arguments.get("content") for calls in entry.gold_calls for c in calls]
        assert shown.value["diff_lines"] in texts


def entry(**changes):
    made = BfclDialogue(
        id="own_0",
        questions=("first", "second"),
        gold_calls=(
            (ToolCall(id="1", name="mkdir", arguments={"dir_name": "a"}),),
            (ToolCall(id="1", name="ls", arguments={}),),
        ),
        initial_config={},
        classes=("GorillaFileSystem",),
    )
    return replace(made, **changes)


def call(name, **arguments):
    return ToolCall(id="1", name=name, arguments=arguments)


def play(env, task_id, turns):
    """The last reward and info of an agent who makes these calls in each turn and then says so."""
    env.reset(options={"task_id": task_id})
    reward, over, info = 0.0, False, {}
    for calls in turns:
        for each in calls:
            env.step(assistant("", [each]))
        _, reward, over, _, info = env.step("Done.")
    assert over
    return reward, info


@needs_data
def test_an_entry_is_played_with_its_scripted_user(entries):
    env = Conversation(BfclTasks(tuple(entries.values())))
    (_, first), _ = env.reset(options={"task_id": "multi_turn_base_151"})
    assert first.content == entries[151].questions[0]
    gold = entries[151].gold_calls
    reward, info = play(env, "multi_turn_base_151", gold)
    assert (reward, info["rewards"]) == (1.0, {"turns": 1.0, "state": 1.0, "results": 1.0})
    reward, info = play(env, "multi_turn_base_151", (gold[0], (), gold[2]))
    assert (reward, info["rewards"]["turns"]) == (0.0, pytest.approx(1 / 3))
    with pytest.raises(UnknownNameError, match="unknown BFCL entry"):
        env.reset(options={"task_id": "multi_turn_base_200"})


def test_the_contract_of_text_environments_holds():
    turngym.check_env(lambda: Conversation(BfclTasks([entry()])))


def test_more_than_the_gold_calls_is_fine_as_long_as_nothing_else_is_written():
    looking = [[call("pwd"), call("mkdir", dir_name="a"), call("ls")], [call("ls")]]
    assert all(check.passed for check in check_turns(entry(), looking))
    writing = [[call("mkdir", dir_name="a"), call("touch", file_name="b")], [call("ls")]]
    assert [check.state_equal for check in check_turns(entry(), writing)] == [False, False]


def test_a_result_may_have_been_seen_in_an_earlier_turn_but_a_turn_without_calls_fails():
    early = [[call("mkdir", dir_name="a"), call("ls")], []]
    assert [check.passed for check in check_turns(entry(), early)] == [True, False]
    early[1] = [call("pwd")]
    assert [check.passed for check in check_turns(entry(), early)] == [True, True]


def test_turns_that_were_not_reached_fail_and_turns_without_gold_calls_do_not_count():
    assert [check.passed for check in check_turns(entry(), [[call("mkdir", dir_name="a")]])] == [
        True,
        False,
    ]
    idle = entry(gold_calls=((), entry().gold_calls[0]))
    assert check_turns(idle, [[call("touch", file_name="x")], []])[0].skipped


def test_the_working_directory_is_not_compared():
    wander = [[call("mkdir", dir_name="a"), call("cd", folder="a"), call("cd", folder="..")]]
    gold = entry(gold_calls=(entry().gold_calls[0],))
    assert check_turns(gold, wander)[0].passed
    wander[0].pop()
    assert check_turns(gold, wander)[0].passed


def test_an_excluded_function_is_not_offered_and_unknown_classes_are_named():
    assert "cp" not in toolbox_of(entry(excluded=("cp",))).tools
    with pytest.raises(UnknownNameError, match="Did you mean 'MathAPI'"):
        initial_state(entry(classes=("MathApi",)))


def test_two_replays_of_an_entry_do_not_share_a_state():
    """The original keeps instances in module globals, so that a second run goes on from the first."""
    config = {"GorillaFileSystem": {"root": {"top": {"type": "directory", "contents": {}}}}}
    one = entry(initial_config=config)
    first, second = end_of(one), end_of(one)
    assert first == second
    assert config["GorillaFileSystem"]["root"]["top"]["contents"] == {}


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ([call("cd", folder="none")], "there is no 'none' here"),
        ([call("cd", folder="..")], "top directory"),
        ([call("touch", file_name="a/b")], "no slash"),
        ([call("touch", file_name="a"), call("touch", file_name="a")], "exists already"),
        ([call("mkdir", dir_name="d"), call("cat", file_name="d")], "is a directory"),
        ([call("touch", file_name="a"), call("mv", source="a", destination="x/y")], "no path"),
    ],
)
def test_file_operations_that_cannot_be_done_are_refused(calls, message):
    _, (results,) = replay(entry(gold_calls=((),)), [calls])
    assert results[-1].code == "refused"
    assert message in results[-1].message
