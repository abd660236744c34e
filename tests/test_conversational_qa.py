"""ConversationalQA: the protocol on a hand-made data set, reply by reply."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import turngym
from turngym.envs.conversational_qa.env import ConversationalQA
from turngym.envs.conversational_qa.tasks import Dataset, Exchange, Kind, Question, Task
from turngym.envs.retrieval.passages import Passage
from turngym.errors import ConfigError, InfraFailure, UnknownNameError
from turngym.types import Message, ToolCall, assistant

PASSAGES = [
    Passage(id="kato", title="Kato", text="Kato is a town. Its mayor is Miru."),
    Passage(id="miru", title="Miru", text="Miru plays the </information> harp."),
    Passage(id="sola", title="Sola", text="Sola is a river " + "and a long one " * 60),
]
PAST = (
    Exchange(question="Where is Kato?", answer="North."),
    Exchange(question="Big?", answer="No."),
)
QUESTIONS = {
    "plays": Question(
        text="What does its mayor play?",
        references=("the harp", "a harp"),
        rewrite="what does the mayor of kato play",
        gold_passages=("kato", "miru"),
    ),
    "unknown": Question(text="How old is it?", kind=Kind.NO_ANSWER),
    "unclear": Question(
        text="Who is the mayor there?",
        references=("Miru",),
        kind=Kind.CLARIFY,
        clarification="In Kato.",
    ),
    "open": Question(text="And that?", kind=Kind.CLARIFY),
}


def make(**values):
    tasks = [Task(id=name, questions=(q,), history=PAST) for name, q in QUESTIONS.items()]
    tasks.append(Task(id="both", questions=(QUESTIONS["plays"], QUESTIONS["unclear"])))
    return ConversationalQA(source=Dataset({"train": tasks}, PASSAGES), **values)


def play(env, task_id, *replies):
    """What `step` gave for each reply."""
    env.reset(seed=0, options={"task_id": task_id})
    return [env.step(reply) for reply in replies]


def answer(text):
    return f"<answer> {text} </answer>"


def search(text):
    return f"<think>hm</think><search> {text} </search>"


def test_a_search_shows_passages_between_tags_and_an_answer_ends():
    found, ended = play(make(top_k=1), "plays", search("kato mayor"), answer("Harp!"))
    (message,), reward, terminated, truncated, info = found
    assert message.role == "user"
    assert message.content == (
        "<information>Doc 1(Title: Kato) Kato is a town. Its mayor is Miru.</information>"
    )
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert info["query"] == "kato mayor" and info["retrieved"] == ["kato"]
    assert info["rewards"] == {"recall": 0.5} and "outcome" not in info
    observation, reward, terminated, truncated, info = ended
    assert (observation, reward, terminated, truncated) == ((), 1.0, True, False)
    assert (info["outcome"], info["success"]) == (1.0, True)


def test_the_opening_holds_the_conversation_and_the_question_last():
    messages, info = make().reset(seed=0, options={"task_id": "plays"})
    assert [m.role for m in messages] == ["system", "user"] and info["task_id"] == "plays"
    assert messages[1].content == (
        "<context>\nUser: Where is Kato?\nAssistant: North.\nUser: Big?\nAssistant: No.\n</context>\n"
        "User query: What does its mayor play?"
    )


@pytest.mark.parametrize(
    ("size", "gone", "kept"),
    [(100_000, (), ("Where", "Big")), (60, ("Where",), ("Big",)), (1, ("Where", "Big"), ())],
)
def test_a_short_context_drops_the_oldest_exchanges_and_never_the_question(size, gone, kept):
    env = make()
    rules = env.reset(seed=0, options={"task_id": "plays"})[0][0].content
    env = make(max_context_chars=len(rules) + size + 40)
    opening = env.reset(seed=0, options={"task_id": "plays"})[0][1].content
    assert opening.endswith("User query: What does its mayor play?")
    assert all(word in opening for word in kept) and not any(word in opening for word in gone)


@pytest.mark.parametrize("limit", [0, 1, 7, 40, 41, 200])
def test_cut_observations_keep_their_tags_and_their_limit(limit):
    env = make(max_information_chars=max(limit, 1))
    (((message,), *_),) = play(env, "plays", search("sola river"))
    text = message.content
    assert text.startswith("<information>") and text.endswith("</information>")
    inside = text.removeprefix("<information>").removesuffix("</information>")
    assert len(inside) <= max(limit, 1)
    shown = "Doc 1(Title: Sola) Sola is a river and a long one"
    assert shown.startswith(inside) or inside.startswith(shown)
    assert not inside or limit < 10 or inside.split()[-1] in shown.split()  # cut between words


def test_when_the_context_is_used_up_searches_show_nothing_but_their_tags():
    env = make(max_context_chars=1)
    ((message,), *_, info), last = play(env, "plays", search("kato"), answer("harp"))
    assert message.content == "<information></information>" and info["retrieved"]
    assert last[1] == 1.0


def test_a_passage_cannot_close_its_block_or_act():
    (((message,), *_),) = play(make(top_k=1), "plays", search("miru harp"))
    assert message.content.count("</information>") == 1 and message.content.endswith(
        "</information>"
    )


@pytest.mark.parametrize(
    "reply",
    [
        "harp",
        "",
        "<answer>harp",
        "<search> </search>",
        "<clarify></clarify>",
        "<search>kato</answer>",
        "<ANSWER>harp</ANSWER>",
        "</answer>harp<answer>",
    ],
)
def test_a_reply_without_an_action_costs_a_turn_and_nothing_else(reply):
    bad, good = play(make(), "plays", reply, answer("harp"))
    assert bad[1:4] == (0.0, False, False) and bad[4]["status"] == "invalid_action"
    assert "<search>" in bad[0][0].content
    assert good[1] == 1.0


def test_only_the_first_action_counts():
    (step,) = play(make(), "plays", answer("drum") + answer("harp"))
    assert step[1] == 0.0 and step[2]
    (step,) = play(make(), "plays", search("kato") + answer("harp"))
    assert not step[2] and step[4]["query"] == "kato"


def test_after_the_turns_one_last_reply_may_only_answer():
    env = make(max_turns=2)
    *_, last = play(env, "plays", search("kato"), "oops", answer("harp"))
    assert last[1] == 1.0
    for final in (search("kato"), "oops"):
        *_, (observation, reward, terminated, truncated, info) = play(
            env, "plays", search("kato"), search("kato"), final
        )
        assert (observation, reward, terminated, truncated) == ((), 0.0, False, True)
        assert info["outcome"] == 0.0 and info["success"] is False and "query" not in info


def test_each_kind_of_question_wants_its_own_kind_of_reply():
    scores = {
        (name, reply): play(make(), name, reply)[-1][4].get("outcome")
        for name in ("plays", "unknown", "open")
        for reply in (answer("harp"), "<noanswer></noanswer>", "<clarify> which? </clarify>")
    }
    assert [name for (name, _), score in scores.items() if score] == ["plays", "unknown", "open"]
    assert scores["unknown", "<noanswer></noanswer>"] == 1.0
    assert scores["open", "<clarify> which? </clarify>"] == 1.0


def test_asking_back_is_answered_once_and_opens_an_exchange():
    asked, searched, ended = play(
        make(), "unclear", "<clarify> where? </clarify>", search("kato"), answer("Miru")
    )
    assert asked[0][0].content == "In Kato." and asked[4]["exchange"] == 1
    assert searched[4]["exchange"] == 1 and ended[1] == 1.0
    (guessed,) = play(make(), "unclear", answer("Miru"))
    assert guessed[1] == 0.0  # right by luck: nobody could know which town
    twice = play(make(), "unclear", "<clarify> a </clarify>", "<clarify> b </clarify>")
    assert twice[-1][2] and twice[-1][1] == 0.0


def test_without_mixed_initiative_only_search_and_answer_are_legal():
    env = make(mixed_initiative=False)
    assert list(env.tasks("train")) == ["plays", "both"]
    (step,) = play(env, "plays", "<noanswer></noanswer>")
    assert step[4]["status"] == "invalid_action"
    assert "clarify" not in env.reset(seed=0)[0][0].content
    with pytest.raises(ConfigError, match="mixed_initiative"):
        env.reset(options={"task_id": "unknown"})


def test_a_whole_conversation_goes_on_and_is_worth_the_mean():
    env = make()
    steps = play(
        env, "both", search("kato"), answer("drum"), "<clarify> where </clarify>", answer("Miru")
    )
    # What signals measure each exchange by: asking back is still about the question before.
    first, second, same = env.privileged.exchange_references
    assert first == ("the harp", "a harp") and second == env.privileged.references and same is None
    first_end = steps[1]
    assert first_end[0][0].content == "Who is the mayor there?" and not first_end[2]
    assert [step[4]["exchange"] for step in steps] == [0, 1, 2, 2]
    assert steps[-1][4]["outcome"] == 0.5 and steps[-1][4]["success"] is False


def test_f1_and_em_outcomes():
    # "golden harp" against "harp": p 1/2, r 1.
    assert play(make(), "plays", answer("golden harp"))[-1][1] == pytest.approx(2 / 3)
    assert play(make(answer="em"), "plays", answer("golden harp"))[-1][1] == 0.0


def test_the_intent_term_at_the_end_and_at_the_search():
    # rewrite without article has 6 tokens; "kato": 2*1/7, "mayor of kato": 2*3/9, "kato" again: less.
    replies = [search("kato"), search("mayor of kato"), search("kato"), answer("harp")]
    *_, ended = play(make(intent_weight=0.5), "plays", *replies)
    assert ended[4]["outcome"] == pytest.approx(1 + 0.5 * 2 / 3)
    assert all("turn_reward" not in step[4] for step in play(make(), "plays", *replies))
    steps = play(make(intent_weight=0.5, intent_at="search"), "plays", *replies)
    paid = [step[4].get("turn_reward") for step in steps]
    assert paid == pytest.approx([1 / 7, 1 / 3 - 1 / 7, 0.0, None])
    assert steps[-1][4]["outcome"] == 1.0
    assert sum(step[1] for step in steps) == pytest.approx(ended[4]["outcome"])


def test_verdicts_are_due_after_searches_and_paid():
    env = make(judge=True, top_k=1, max_turns=9)
    steps = play(
        env,
        "plays",
        search("sola"),
        answer("harp"),  # no verdict: not an action
        "<judge> yes </judge>" + search("kato"),  # accepts a useless passage
        "<judge> no </judge>" + search("sola"),  # rejects a useful one
        "<judge> No </judge>" + answer("harp"),  # right
    )
    assert steps[1][4]["status"] == "invalid_action"
    assert [s[4].get("turn_reward") for s in steps] == [None, None, -0.6, -0.3, 0.3]
    assert steps[-1][4]["outcome"] == 1.0 and steps[-1][1] == pytest.approx(1.3)
    with pytest.raises(ConfigError, match="judge"):
        make(judge=True, protocol="tools")


def call(name, *, id="1", **arguments):
    return ToolCall(id=id, name=name, arguments=arguments)


def test_native_tool_calls():
    env = make(protocol="tools", top_k=1)
    names = [schema["function"]["name"] for schema in env.tools]
    assert names == ["search", "answer", "clarify", "cannot_answer"]
    two = assistant("", [call("search", query="kato"), call("search", id="2", query="miru")])
    found, ended = play(env, "plays", two, assistant("", [call("answer", text="harp")]))
    first, second = found[0]
    assert (first.role, first.tool_call_id) == ("tool", "1") and "Kato is a town" in first.content
    assert second.tool_call_id == "2" and "one call at a time" in second.content
    assert found[4]["retrieved"] == ["kato"] and ended[1] == 1.0
    assert play(env, "plays", assistant("Harp"))[-1][1] == 1.0  # words alone are the answer
    assert play(env, "unknown", assistant("", [call("cannot_answer")]))[-1][1] == 1.0
    for bad in (call("serch", query="x"), call("search"), call("search", query=3)):
        (step,) = play(env, "plays", assistant("", [bad]))
        assert step[4]["status"] == "invalid_action" and step[0][0].tool_call_id == "1"
    steps = play(env, "both", assistant("", [call("answer", text="harp")]))
    assert [m.role for m in steps[0][0]] == ["tool", "user"]


def test_forks_share_the_index_and_go_their_own_ways():
    env = make()
    env.reset(seed=0, options={"task_id": "plays"})
    twin = env.fork()
    assert twin.retriever is env.retriever and twin.fingerprint() == env.fingerprint()
    env.step(search("kato"))
    assert twin.fingerprint() != env.fingerprint()
    assert twin.step(answer("harp"))[1] == 1.0
    assert env.step(answer("drum"))[1] == 0.0


def test_what_is_privileged_is_never_shown():
    env = make()
    messages, _ = env.reset(seed=0, options={"task_id": "plays"})
    privileged = env.privileged
    assert privileged.references == ("the harp", "a harp")
    assert privileged.hidden_state["gold_passages"] == ["kato", "miru"]
    text = "".join(m.content for m in messages)
    assert "harp" not in text and privileged.hidden_state["rewrites"][0] not in text


def test_a_search_engine_that_fails_is_not_the_agents_fault():
    class Broken:
        def search(self, queries, k):
            raise InfraFailure("down")

    env = make(retriever=Broken())
    with pytest.raises(InfraFailure):
        play(env, "plays", search("kato"))


def test_mistakes_of_the_user_are_named():
    with pytest.raises(ConfigError, match="Did you mean 'demo'"):
        make(size="dem")
    with pytest.raises(ConfigError, match="top_k"):
        make(topk=3)
    with pytest.raises(ConfigError, match="`data` and `format`"):
        ConversationalQA(data="x.json")
    with pytest.raises(ConfigError, match="Did you mean 'task_id'"):
        make().reset(options={"task": "plays"})
    with pytest.raises(ConfigError, match="'dev' of this data is empty"):
        make().reset(options={"split": "dev"})
    with pytest.raises(UnknownNameError, match="'plays'"):
        make().reset(options={"task_id": "play"})


@pytest.mark.parametrize("size", [None, "demo", "search_r1", "chatr1"])
def test_the_registered_environment_keeps_the_contract(size):
    from turngym.envs.check import check_env

    check_env(lambda: turngym.make("turngym/ConversationalQA-v0", size=size))


FRAGMENTS = [
    *(f"<{close}{tag}>" for tag in ("search", "answer", "think", "judge") for close in ("", "/")),
    *("<information>", "</information>", "<clarify>a</clarify>", "<noanswer></noanswer>"),
    *("kato", " miru", "\n", "", "yes", "<search>sola</search>", "<judge>no</judge>"),
]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(FRAGMENTS), max_size=6).map("".join), max_size=9),
    st.sampled_from(["plays", "unknown", "unclear", "open", "both"]),
    st.booleans(),
    st.integers(1, 90),
    st.integers(1, 1500),
)
@example(replies=["<search><search></search>"], task="plays", judge=False, room=1, context=1)
def test_any_reply_is_survived_tags_stay_whole_and_budgets_hold(
    replies, task, judge, room, context
):
    env = make(judge=judge, max_information_chars=room, max_context_chars=context, intent_weight=1)
    env.reset(seed=0, options={"task_id": task})
    for reply in replies:
        new, reward, terminated, truncated, info = env.step(reply)
        for message in new:
            assert isinstance(message, Message) and message.role == "user"
            if message.content.startswith("<information>"):
                assert message.content.endswith("</information>")
                assert message.content.count("<information>") == 1
                inside = len(message.content) - len("<information></information>")
                assert inside <= min(room, context)
        if terminated or truncated:
            assert 0 <= info["outcome"] <= 2 and isinstance(info["success"], bool)
            break
        assert "outcome" not in info and reward == info.get("turn_reward", 0.0)
