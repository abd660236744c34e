"""Simulated users, blame, and conversations of tau2-bench and NeMo Gym, with scripted models."""

import asyncio
import dataclasses
import json
import os
from pathlib import Path

import pytest

import turngym
from turngym.agents.scripted import ScriptedAgent
from turngym.envs.tool_use.blame import (
    MessageVerdict,
    MessageVerifier,
    assign_blame,
)
from turngym.envs.tool_use.conversation import Conversation
from turngym.envs.tool_use.draft import draft_checklist
from turngym.envs.tool_use.llm_user import LLMUser, read_turn, settle
from turngym.envs.tool_use.nemo import NemoTasks, load_verdicts
from turngym.envs.tool_use.tau2.domains import load_domain
from turngym.envs.tool_use.tau2.source import Tau2Tasks
from turngym.envs.tool_use.tau2.tasks import load_tasks
from turngym.envs.tool_use.tools import ToolBox
from turngym.errors import ConfigError, DataError, JudgeFailure, SimulatorFailure, UnknownNameError
from turngym.types import Completion, ToolCall, assistant, tool, user

ROOT = Path(os.environ.get("TURNGYM_SHARED") or Path(__file__).resolve().parents[2] / "shared")
SHARED = ROOT / "data"
needs_data = pytest.mark.skipif(not (SHARED / "tau2").exists(), reason="needs the tau2 files")
NO_TOOLS = ToolBox(())


def saying(*replies):
    """An agent with fixed replies, the last one for ever."""
    left = list(replies)
    return ScriptedAgent(lambda context: left.pop(0) if len(left) > 1 else left[0])


def calling(name, **arguments):
    return assistant("", [ToolCall(id="1", name=name, arguments=arguments)])


# ---- the simulated user


@pytest.mark.parametrize(
    ("said", "agent_said", "ending", "last_word"),
    [
        ("###STOP###", "Done.", "stop", False),
        ("Thanks, bye. ###STOP###", "It is done.", "stop", False),
        ("Yes, please. ###STOP###", "Shall I cancel it?", None, True),
        ("###STOP###", "Anything else?", "stop", False),
        ("###TRANSFER###", "Please hold. OK?", "transfer", False),
        ("What? ###OUT-OF-SCOPE###", "Which one?", "out_of_scope", False),
        ("Hello", "", None, False),
    ],
)
def test_a_goodbye_that_answers_a_question_waits_for_completion(
    said, agent_said, ending, last_word
):
    turn = settle(read_turn(assistant(said)), agent_said)
    assert (turn.ending, turn.last_word) == (ending, last_word)
    assert "###" not in turn.text


def test_a_user_who_says_nothing_or_hangs_is_a_failure_of_the_simulator():
    replies = saying("", "  ", "Hello")
    assert LLMUser(replies).turn("Say hello.", (), NO_TOOLS).text == "Hello"
    with pytest.raises(SimulatorFailure, match="said nothing in 2 attempts"):
        LLMUser(saying(""), attempts=2).turn("", (), NO_TOOLS)

    class Slow:
        async def act(self, context, *, sampling, seed):
            await asyncio.sleep(60)

    with pytest.raises(SimulatorFailure, match="no answer in"):
        LLMUser(Slow(), attempts=1, timeout_s=0.05).turn("", (), NO_TOOLS)


def test_the_user_sees_his_instructions_and_the_conversation_from_his_side():
    seen = []

    def script(context):
        seen.append(context.new)
        return "Hello"

    LLMUser(ScriptedAgent(script)).turn("You want tea.", (user("Hi!"),), NO_TOOLS)
    (rules, hello) = seen[0]
    assert rules.role == "system"
    assert "You want tea." in rules.content
    assert hello == user("Hi!")


# ---- tau2-bench


@pytest.fixture
def mock_domain():
    folder = SHARED / "tau2/mock"
    return load_domain("mock", folder), load_tasks(folder / "tasks.json")


def conversation(mock_domain, *said, judge=None, **settings):
    return Conversation(Tau2Tasks(*mock_domain, judge=judge), user=saying(*said), **settings)


@needs_data
def test_a_task_is_served_and_earns_its_reward(mock_domain):
    env = conversation(mock_domain, "Complete task_1, please.", "Thanks. ###STOP###")
    (policy, wish), _ = env.reset(options={"task_id": "update_task_1"})
    assert policy.content.startswith("# Mock Domain Policy")
    assert wish.content == "Complete task_1, please."
    (result,), reward, *_, info = env.step(
        calling("update_task_status", task_id="task_1", status="completed")
    )
    assert json.loads(result.content)["status"] == "completed"
    assert "/tasks/task_1/status" in [change["path"] for change in info["changes"]]
    _, reward, terminated, _, info = env.step("Done.")
    assert (reward, terminated, info["success"]) == (1.0, True, True)
    assert info["rewards"] == {
        "db": 1.0,
        "action": 1.0,
        "env_assertion": 1.0,
        "communicate": 1.0,
    }


@needs_data
def test_consent_with_a_goodbye_lets_the_agent_finish(mock_domain):
    """The premature stop of tau2's simulator would end this before the write."""
    env = conversation(mock_domain, "Complete task_1.", "Yes. ###STOP###", "never asked")
    env.reset(options={"task_id": "update_task_1"})
    (yes,), _, terminated, *_ = env.step("Shall I complete it?")
    assert (yes.content, terminated) == ("Yes.", False)
    env.step(calling("update_task_status", task_id="task_1", status="completed"))
    _, reward, terminated, *_ = env.step("It is completed.")
    assert (reward, terminated) == (1.0, True)


@needs_data
def test_the_user_uses_tools_of_his_own(mock_domain):
    looks = calling("check_notifications")
    env = conversation(mock_domain, looks, "Complete task_1.", "Bye ###STOP###")
    env.reset(options={"task_id": "update_task_with_user_tools"})
    env.step(calling("update_task_status", task_id="task_1", status="completed"))
    _, reward, *_, info = env.step("Done.")
    assert (reward, info["rewards"]["env_assertion"]) == (1.0, 1.0)
    busy = conversation(mock_domain, looks)
    with pytest.raises(SimulatorFailure, match="20 calls without a word"):
        busy.reset(options={"task_id": "update_task_with_user_tools"})


@needs_data
def test_nothing_done_is_zero_and_a_missing_judge_is_not(mock_domain):
    env = conversation(mock_domain, "Complete task_1.", "Fine. ###STOP###")
    env.reset(options={"task_id": "update_task_1"})
    _, reward, terminated, *_ = env.step("Done.")
    assert (reward, terminated) == (0.0, True)
    domain, tasks = mock_domain
    judged = [dataclasses.replace(task, basis=("NL_ASSERTION",)) for task in tasks]
    env = conversation((domain, judged), "Complete task_1.", "Fine. ###STOP###")
    env.reset(options={"task_id": "update_task_1"})
    with pytest.raises(JudgeFailure, match="needs a judge"):
        env.step("Done.")


@needs_data
def test_forks_go_their_own_ways_and_wrong_options_are_named(mock_domain):
    env = conversation(mock_domain, "Complete task_1.")
    env.reset(options={"task_id": "update_task_1"})
    twin, before = env.fork(), env.fingerprint()
    env.step(calling("update_task_status", task_id="task_1", status="completed"))
    assert twin.fingerprint() == before != env.fingerprint()
    with pytest.raises(UnknownNameError, match="Did you mean 'update_task_1'"):
        env.reset(options={"task_id": "update_task_10"})
    with pytest.raises(ConfigError, match="unknown reset option"):
        env.reset(options={"task": "x"})


class Terse:
    """A user with one wish; it can be pickled."""

    async def act(self, context, *, sampling, seed):
        said = sum(message.role == "assistant" for message in context.new)
        return Completion(message=assistant("###STOP###" if said else "Complete task_1."))


@needs_data
def test_the_contract_of_text_environments_holds(mock_domain):
    turngym.check_env(lambda: Conversation(Tau2Tasks(*mock_domain), user=Terse()))


# ---- blame


def verdicts(text):
    """`u+ t? a-`: user valid, tool without verdict, agent invalid."""
    parties = {"u": "user", "t": "tool", "a": "agent"}
    values = {"+": True, "-": False, "?": None}
    return [MessageVerdict(party=parties[p], valid=values[v]) for p, v in text.split()]


@pytest.mark.parametrize(
    ("text", "whole", "culprit", "masked"),
    [
        ("u+ t+ a+", True, None, False),
        ("u+ t+ a+", False, "agent", False),
        ("u+ t+ a-", True, "agent", False),
        ("a- t- u-", True, "user", True),
        ("a- t- u+", True, "tool", True),
        ("u? t- a-", True, "judge", True),
        ("u+ t+ a?", True, "judge", True),
        ("u+ t+ a+", None, "judge", True),
    ],
)
def test_the_user_is_looked_at_first_then_the_tools_then_the_agent(text, whole, culprit, masked):
    blame = assign_blame(verdicts(text), whole)
    assert (blame.culprit, blame.masked) == (culprit, masked)


def test_a_masked_sample_raises_what_gives_it_its_status():
    with pytest.raises(SimulatorFailure, match="simulated tool is to blame"):
        assign_blame(verdicts("t-")).raise_if_masked()
    with pytest.raises(JudgeFailure):
        assign_blame(verdicts("u?")).raise_if_masked()
    assign_blame(verdicts("a-")).raise_if_masked()


def verdict(valid):
    return json.dumps({"analysis": "because", "valid": valid})


def faulting(party):
    """A verifier's agent who finds fault with one party's messages."""
    return ScriptedAgent(
        lambda context: verdict(f"The {party}" not in context.new[-1].content.splitlines()[0])
    )


TALK = (user("Hi"), calling("f"), tool("1", "1"), assistant("Done."))


@pytest.mark.parametrize("party", ["user", "tool", "agent"])
def test_the_verifier_asks_until_a_message_is_bad(party):
    got = MessageVerifier(faulting(party)).blame(TALK, scenario="s", policy="p")
    assert (got.culprit, got.reason) == (party, "because")


def test_a_verifier_that_cannot_be_read_is_the_judges_fault():
    agent = saying("?", '{"valid": true, "analysis": "late"}', '{"analysis": "x", "valid": "yes"}')
    got = MessageVerifier(agent, attempts=3).blame(TALK, scenario="", policy="")
    assert (got.culprit, got.masked) == ("judge", True)


@needs_data
def test_a_conversation_that_the_user_spoilt_is_no_zero(mock_domain):
    said = ("Complete task_1.", "Bye ###STOP###")
    env = conversation(mock_domain, *said, verifier=MessageVerifier(faulting("user")))
    env.reset(options={"task_id": "update_task_1"})
    with pytest.raises(SimulatorFailure, match="simulated user is to blame"):
        env.step("Done.")
    env = conversation(mock_domain, *said, verifier=MessageVerifier(faulting("agent")))
    env.reset(options={"task_id": "update_task_1"})
    assert env.step("Done.")[1] == 0.0


@needs_data
def test_recorded_labels_masks_and_rewards_of_nemo_gym_are_reproduced():
    path = SHARED / "nemo_gym/conversational_tool_use_simulation__example_rollouts.jsonl"
    recorded = load_verdicts(path)
    assert [row.label for row in recorded] == [
        "",
        "user_failure",
        "tool_failure",
        "",
        "agent_failure",
    ]
    for row in recorded:
        blame = assign_blame(row.verdicts, row.conversation)
        assert (f"{blame.culprit}_failure" if blame.culprit else "") == row.label
        assert blame.masked == row.masked
        assert float(blame.culprit is None) == row.reward


@needs_data
def test_nemo_rows_are_played_with_simulated_tools():
    path = SHARED / "nemo_gym/conversational_tool_use_simulation__example.jsonl"
    answer = json.dumps({"analysis": "ok", "execution_result": {"status": "done"}})
    fair = MessageVerifier(saying(verdict(True)))
    source = NemoTasks(path, simulator=saying(answer), verifier=fair)
    ids = [key for split in ("train", "dev", "test") for key in source.ids(split)]
    assert len(ids) == 5
    env = Conversation(source, user=saying("Six tickets, please.", "###STOP###"))
    env.reset(options={"task_id": ids[0]})
    name = env.tools[0]["function"]["name"]
    wanted = env.tools[0]["function"]["parameters"]["required"]
    assert name == "authenticate_user"
    (result,), *_ = env.step(calling(name))
    assert '"code":"invalid_arguments"' in result.content
    assert len(wanted) == 3
    values = {"user_id": "u", "verification_method": "loyalty_id", "verification_value": "v"}
    (result,), *_ = env.step(calling(name, **values))
    assert json.loads(result.content) == {"status": "done"}
    _, reward, terminated, *_ = env.step("Done.")
    assert (reward, terminated) == (1.0, True)


def test_files_that_cannot_be_read_say_where(tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": "1"}')
    with pytest.raises(DataError, match="line 1: KeyError: 'customer_scenario'"):
        NemoTasks(bad, simulator=saying(""), verifier=MessageVerifier(saying("")))
    with pytest.raises(DataError, match="line 1: KeyError: 'judge_diagnostics'"):
        load_verdicts(bad)


# ---- drafts


def item(**changes):
    made = {
        "id": "a",
        "evidence": [],
        "focus_on": ["assistant.tool_calls"],
        "question": "Is f called?",
        "pass_condition": "",
        "failure_examples": [],
        "required_for_next_turn": True,
        "dependence": [],
        "weight": 1.0,
    }
    return {**made, **changes}


def test_a_draft_is_checked_and_its_faults_go_back():
    heard = []
    replies = iter(["no idea", json.dumps([[item(weight=0.4)]]), f"Here: {json.dumps([[item()]])}"])

    def script(context):
        heard.append(context.new[-1].content)
        return next(replies)

    ((found,),) = draft_checklist(TALK, (), ScriptedAgent(script))
    assert (found.id, found.check.kind) == ("a", "judged")
    assert "no JSON list" in heard[1]
    assert "weights sum to 0.4" in heard[2]


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([[item()], [item()]], "2 lists of items for 1 user messages"),
        ([[item(dependence=["a"])]], "depends on itself"),
        ([[item(mood="good")]], "mood"),
        ("text", "no JSON list"),
    ],
)
def test_a_draft_that_never_passes_is_a_failure(rows, match):
    with pytest.raises(SimulatorFailure, match=match):
        draft_checklist(TALK, (), saying(json.dumps(rows)), attempts=2)


def test_a_dialogue_without_a_user_has_no_checklist():
    with pytest.raises(DataError, match="needs a user message"):
        draft_checklist((assistant("Hi"),), (), saying("[]"))
