"""turngym/ToolUse-v0: conversations with a scripted user in the bundled worlds."""

import time

import pytest

import turngym
from turngym.envs.tool_use.env import ToolUse
from turngym.envs.tool_use.tasks import Request
from turngym.envs.tool_use.user import AskedUser, hear
from turngym.envs.tool_use.worlds.people import DOCTORS, NAMES, TITLES
from turngym.errors import ConfigError, UnknownNameError
from turngym.types import Message, ToolCall, assistant

SPLITS = ("train", "dev", "test")


def play(env, task_id, **settings):
    """All messages and the last info of the scripted expert's episode."""
    new, info = env.reset(options={"task_id": task_id})
    messages, over = list(new), False
    while not over:
        reply = env.expert(messages, **settings)
        said = reply if isinstance(reply, Message) else assistant(reply)
        new, _, terminated, truncated, info = env.step(reply)
        messages += [said, *new]
        over = terminated or truncated
    return messages, info


def calling(name, **arguments):
    return assistant("", [ToolCall(id="1", name=name, arguments=arguments)])


@pytest.mark.parametrize("size", [None, "demo"])
def test_the_contract_of_text_environments_holds(size):
    turngym.check_env(lambda: ToolUse(size=size))


@pytest.mark.parametrize("size", [None, "demo"])
def test_the_expert_solves_every_task_and_earns_its_whole_checklist(size):
    env = ToolUse(size=size)
    for task_id in [each for split in SPLITS for each in env.tasks(split)]:
        messages, info = play(env, task_id)
        assert info["success"], (task_id, messages, info)
        assert info["rewards"]["checklist"] == pytest.approx(1.0), (task_id, messages)


def test_mistakes_cost_the_noisy_expert_a_part_of_the_tasks():
    env = ToolUse(size="demo")
    solved = [
        play(env, task, noise=0.3, seed=seed)[1].get("success", False)
        for seed, task in enumerate(env.tasks("train")[:120])
    ]
    assert 0.4 < sum(solved) / len(solved) < 0.9


def test_there_are_two_hundred_tasks_in_three_splits_without_common_records():
    env = ToolUse()
    assert [len(env.tasks(split)) for split in SPLITS] == [120, 40, 40]
    for pool in (NAMES, TITLES, DOCTORS):
        words = [word for split in SPLITS for word in pool[split]]
        assert len(set(words)) == len(words)
    train = {word for pool in (NAMES, TITLES, DOCTORS) for word in pool["train"]}
    for task_id in env.tasks("test"):
        messages, _ = play(env, task_id)
        assert not any(word in str(messages[1:]) for word in train), task_id


def test_conversations_take_two_to_seven_user_messages():
    env = ToolUse()
    counts = {sum(message.role == "user" for message in play(env, task)[0]) for task in env.tasks()}
    assert min(counts) >= 2
    assert max(counts) <= 7


def test_a_demo_episode_fits_into_400_tokens():
    from turngym.agents.tiny import tiny_tokenizer

    env, tokenizer = ToolUse(size="demo"), tiny_tokenizer()
    for task_id in env.tasks("train")[::4]:
        messages, _ = play(env, task_id)
        text = tokenizer.apply_chat_template(
            [{"role": each.role, "content": each.content} for each in messages], tokenize=False
        )
        assert len(tokenizer(text).input_ids) <= 400, task_id


def test_what_the_policy_forbids_fails_although_the_tool_does_it():
    env = ToolUse(worlds=("library",))
    for task_id in [each for each in env.tasks() if "/refuse/" in each]:
        (_, opening), _ = env.reset(options={"task_id": task_id})
        title = opening.content.removeprefix("Please renew ").rstrip(".")
        (answer,), *_ = env.step("What is your card?")
        card = answer.content.removeprefix("My card is ").rstrip(".")
        book = next(b for b, row in env._state["books"].items() if row["title"] == title)
        (result,), *_ = env.step(calling("renew", card=card, book=book))
        assert result.content == '"renewed"'
        _, reward, terminated, _, info = env.step("Renewed.")
        assert (reward, terminated, info["success"]) == (0.0, True, False)
        assert info["rewards"]["strict"] == 0.0


@pytest.mark.parametrize(
    ("task_id", "forbidden"),
    [
        ("hotel/saver/0", "cancel_booking"),
        ("hotel/late/0", "add_extra"),
        ("bank/stranger/0", "transfer"),
        ("bank/limit/0", "set_limit"),
    ],
)
def test_the_new_desks_too_leave_the_policy_to_the_agent(task_id, forbidden):
    """The tool does it, the checklist sees it: an agent that obeys the user fails."""
    env = ToolUse(gate="open")
    (_, opening), _ = env.reset(options={"task_id": task_id})
    state = env._state
    code = next(iter(state.get("bookings", {"": 0})))
    number = next((int(w) for w in opening.content.split() if w.isdecimal()), 0)
    arguments = {
        "cancel_booking": {"code": code},
        "add_extra": {"code": code, "extra": "late check-out"},
        "transfer": {
            "source": next(iter(state.get("accounts", {"": 0}))),
            "target": opening.content.split()[-1].rstrip("."),
            "amount": number,
        },
        "set_limit": {"card": next(iter(state.get("cards", {"": 0}))), "limit": number},
    }[forbidden]
    *_, info = env.step(calling(forbidden, **arguments))
    assert info["calls"][0]["ok"], info
    *_, info = env.step("Sorry, but it is done.")
    assert info["rewards"]["checklist"] == pytest.approx(
        1 / 3
    )  # the refusal; neither kept nor found


def test_the_user_leaves_when_a_strict_item_is_open_and_goes_on_when_the_gate_is():
    task = {"task_id": "library/lend/0"}
    strict, opened = ToolUse(), ToolUse(gate="open")
    strict.reset(options=task)
    new, _, terminated, _, info = strict.step("Done.")
    assert (new, terminated, info["exchange"]) == ((), True, 0)
    opened.reset(options=task)
    new, _, terminated, _, info = opened.step("Done.")
    assert (new[0].role, terminated, info["exchange"]) == ("user", False, 1)
    *_, info = opened.step("It is out.")
    assert info["rewards"]["strict"] == 0.0
    assert info["outcome"] == 0.0


def test_the_user_tells_only_what_he_is_asked_and_each_answer_once():
    env = ToolUse()
    env.reset(options={"task_id": "library/lend/0"})
    (first,), *_ = env.step("What is your card?")
    (second,), *_ = env.step("What is your card?")
    (third,), *_ = env.step("What is the weather?")
    assert first.content.startswith("My card is M")
    assert second.content == third.content == "I do not know."


@pytest.mark.parametrize(
    ("reply", "closes"),
    [
        ("Done.", True),
        ("Done. Anything else?", True),
        ("Done! Can I help you with something else?", True),
        ("Anything else? And what is your name?", False),
        ("Shall I go on?", False),
    ],
)
def test_a_courtesy_is_no_question(reply, closes):
    request = Request(opening="Hi", items=())
    assert hear(AskedUser(), request, reply).closed == closes


def test_a_reply_of_megabytes_is_read_in_linear_time():
    start = time.perf_counter()
    assert hear(AskedUser(), Request(opening="Hi", items=()), "x" * 2_000_000).closed
    assert time.perf_counter() - start < 5  # a quadratic search takes minutes


def test_every_failure_of_a_call_is_a_result_and_changes_nothing():
    env = ToolUse(worlds=("library",))
    _, _ = env.reset(options={"task_id": "library/lend/0"})
    before = env._state
    cases = {
        "unknown_tool": calling("lendd", card="M1", book="B1"),
        "invalid_arguments": calling("lend", card=5, book="B1"),
        "refused": calling("lend", card="M1", book="B1"),
        "malformed_arguments": calling("lend", card="x" * 10_000_000, book="B1"),
    }
    for code, call in cases.items():
        (result,), reward, terminated, _, info = env.step(call)
        assert f'"code":"{code}"' in result.content
        assert len(result.content) < 1000
        assert (reward, terminated, info["status"]) == (0.0, False, "invalid_action")
        assert not info["calls"][0]["ok"]
    (result,), *_ = env.step("<tool_call>{name: lend}</tool_call>")
    assert '"code":"malformed_arguments"' in result.content
    assert env._state == before


def test_calls_beyond_sixteen_in_one_reply_are_refused():
    env = ToolUse(worlds=("library",))
    env.reset(options={"task_id": "library/lend/0"})
    many = [ToolCall(id=str(n), name="find_member", arguments={"card": "M1"}) for n in range(18)]
    new, *_ = env.step(assistant("", many))
    assert [("at most 16" in each.content) for each in new] == [False] * 16 + [True] * 2
    assert [each.tool_call_id for each in new] == [str(n) for n in range(18)]


def test_python_calls_are_read_as_data():
    env = ToolUse(size="demo")
    env.reset(options={"task_id": "library/lend/0"})
    (result,), *_ = env.step("find_member(card=__import__('os').getcwd())")
    assert '"code":"malformed_arguments"' in result.content
    (result,), *_ = env.step("find_member(card='M1')")
    assert '"code":"refused"' in result.content


def test_turn_rewards_sum_to_the_exchange_and_come_where_items_fire():
    env = ToolUse(worlds=("library",))
    (_, opening), _ = env.reset(options={"task_id": "library/lend/0"})
    title = opening.content.removeprefix("I want to borrow ").rstrip(".")
    (answer,), *_ = env.step("What is your card?")
    card = answer.content.removeprefix("My card is ").rstrip(".")
    earned = []
    book = next(b for b, row in env._state["books"].items() if row["title"] == title)
    for reply in (
        calling("find_member", card=card),
        calling("find_book", title=title),
        calling("find_book", title=title),
        calling("lend", card=card, book=book),
        "Lent.",
    ):
        *_, info = env.step(reply)
        earned.append(info["turn_reward"])
    assert earned == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3, 0])


def test_forks_write_into_worlds_of_their_own():
    env = ToolUse(worlds=("library",))
    env.reset(options={"task_id": "library/renew/0"})
    twin, start = env.fork(), env.fingerprint()
    card = next(iter(env._state["members"]))
    book = next(iter(env._state["books"]))
    *_, info = env.step(calling("renew", card=card, book=book))
    assert [(c["path"], c["after"]) for c in info["changes"]] == [(f"/books/{book}/renewed", True)]
    assert twin.fingerprint() == start != env.fingerprint()
    assert twin._state["books"][book]["renewed"] is False


def test_wrong_settings_and_tasks_are_refused():
    with pytest.raises(ConfigError, match="Did you mean 'demo'"):
        ToolUse(size="demos")
    with pytest.raises(ConfigError, match="worlds"):
        ToolUse(worlds=("shop",))
    env = ToolUse(worlds=("library",))
    for wrong in ("shop/lend/0", "library/lend/00", "library/lend/10", "clinic/book/0"):
        with pytest.raises(UnknownNameError, match="unknown task"):
            env.reset(options={"task_id": wrong})
    with pytest.raises(ConfigError, match="belongs to split 'test'"):
        env.reset(options={"task_id": "library/lend/9", "split": "train"})
