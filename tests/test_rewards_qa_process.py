"""Format reward of Search-R1, process rewards and the evidence graph: goldens by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.rewards.citation import Rubric, carr, connected, mix_outcome
from turngym.rewards.search_process import action_label, inforage, r3_rag, reseek_judge
from turngym.rewards.search_r1 import (
    FormatScores,
    recorded_em,
    recorded_format,
    search_r1_em,
    search_r1_format,
    well_formed,
)
from turngym.types import (
    Completion,
    EpisodeStatus,
    Message,
    Privileged,
    Trajectory,
    Turn,
    assistant,
    user,
)

FOUND = "<think>t</think>\n<search>q</search>\n<information>Doc 1 Paris</information>\n"
RIGHT = FOUND + "<think>t</think> <answer> Paris </answer>"


def test_format_reward_by_hand():
    scores = FormatScores(retrieval=0.1)
    cases = [
        (RIGHT, 1.0),
        (RIGHT + " bye", 0.8),  # text after the end
        (
            FOUND + "<think>t</think><answer>Rome</answer>",
            0.3,
        ),  # wrong, well-formed, gold was found
        ("<think>t</think><answer>Rome</answer>", 0.2),
        ("<answer>Rome</answer>", 0.1),
        ("<answer>Paris</answer>", 0.8),
        ("Paris", 0.0),
        ("", 0.0),
    ]
    for text, wanted in cases:
        assert search_r1_format(text, ["paris"], scores) == pytest.approx(wanted), text


@pytest.mark.parametrize(
    "text",
    [
        RIGHT.replace("</information>", ""),  # an observation cut without its closing tag
        RIGHT.replace("<think>t</think> <answer>", "<answer>"),  # no thought after information
        "<think>a<search>q</search></think><answer>x</answer>",
        "<think>a</think>",
        "<think>a</think><answer>x</answer><think>b</think>",
        "hello <think>a</think><answer>x</answer>",
        "<think>a</think><answer>x",
        "</answer>",
    ],
)
def test_malformed_transcripts(text):
    assert not well_formed(text)


@given(st.integers(0, 4), st.sampled_from(["", " ", "\n\n"]))
def test_any_number_of_search_rounds_is_well_formed(rounds, gap):
    blocks = ["<think>t</think>"]
    for _ in range(rounds):
        blocks += ["<search>q</search>", "<information>i</information>", "<think>t</think>"]
    text = gap.join([*blocks, "<answer>x</answer>"])
    assert well_formed(text)
    assert not well_formed(text.replace("<answer>x</answer>", ""))


def test_the_last_answer_counts_and_an_empty_one_is_wrong():
    assert search_r1_em("<answer>Rome</answer><answer>Paris</answer>", ["Paris"]) == 1.0
    assert search_r1_em("<answer>Paris</answer><answer> </answer>", ["Paris"]) == 0.0
    assert search_r1_em("Paris", ["Paris"]) == 0.0


def test_the_prompts_example_answer_is_not_taken_for_the_agents():
    def turn(seen, said):
        return Turn(seen=(user(seen),), completion=Completion(message=assistant(said)))

    played = Trajectory(
        env_id="e",
        task_id="t",
        episode="0/0/0",
        seed=0,
        group="g",
        status=EpisodeStatus.TERMINATED,
        privileged=Privileged(references=("Beijing",)),
        turns=(
            turn(
                "For example, <answer>Beijing</answer>. Question?",
                "<think>a</think><search>q</search>",
            ),
            turn("<information>i</information>", "<think>b</think>"),
        ),
    )
    assert recorded_em(played) == 0.0 and recorded_format(played) == 0.0


def test_thoughts_that_were_taken_out_of_the_text_count_for_the_form():
    reply = Message(role="assistant", content="<answer>x</answer>", reasoning="so")
    played = Trajectory(
        env_id="e",
        task_id="t",
        episode="0/0/0",
        seed=0,
        group="g",
        status=EpisodeStatus.TERMINATED,
        privileged=Privileged(references=("x",)),
        turns=(Turn(seen=(user("q"),), completion=Completion(message=reply)),),
    )
    assert recorded_format(played) == 1.0


def test_reseek_inforage_and_labels_by_hand():
    verdicts = [(True, True), (False, False), (True, False), (False, True)]
    assert [reseek_judge(*pair) for pair in verdicts] == [0.3, 0.3, -0.6, -0.3]
    # best search finds 1 of 2: 0.95^2 * (0.5 + 0.2 * 0.5)
    value = inforage(0.5, [["a"], ["b", "x"]], ["a", "b"], num_steps=2)
    assert value == pytest.approx(0.9025 * 0.6)
    assert inforage(0.5, [], ["a"], num_steps=1) == 0.5  # one step is free
    assert [action_label(x, "answer") for x in ("answer", "clarify", None)] == [1.0, -0.5, -0.5]


def test_r3_rag_by_hand():
    assert r3_rag([0.5, 0.0], correct=True) == pytest.approx((0.8, 2.0))
    assert r3_rag([0.5, 0.0], correct=False) == pytest.approx((0.4, 0.0))
    assert r3_rag([0.5, 0.2], correct=None) == pytest.approx((0.45, 0.18))
    assert r3_rag([0.5, 0.2], correct=True, malformed=True) == pytest.approx((0.5, -0.9))
    with pytest.raises(ValueError, match="lie in"):
        r3_rag([1.5], correct=True)


def rubrics(*edges):
    return [Rubric(statement=str(edge), entities=frozenset(edge)) for edge in edges]


def test_only_rubrics_joined_to_the_answer_score():
    # 0-1, 1-2 hang together with the answer; 3-4 is supported but an island.
    facts = rubrics((0, 1), (1, 2), (3, 4), (2, 3))
    names = {0: "A", 1: "B", 2: "C", 3: "D", 4: "E"}
    assert connected(facts, {0, 1, 2}) == {0, 1}
    assert carr(facts, names, {0, 1, 2}, ["u"]) == 0.5
    assert carr(facts, names, {0, 1, 2, 3}, ["u"]) == 1.0  # 2-3 bridges to the island
    assert carr(facts, names, {1, 2, 3}, ["u"]) == 0.0  # nothing touches the answer
    assert carr(facts, names | {1: " "}, {0, 1, 2, 3}, ["u"]) == 0.0  # B is never named
    assert carr(facts, names, {0, 1, 2, 3}, []) == 0.0


@given(st.sets(st.integers(0, 5)), st.integers(0, 5))
def test_more_support_never_lowers_the_score(supported, extra):
    facts = rubrics((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 5))
    assert connected(facts, supported) <= connected(facts, supported | {extra})


def test_c_grpo_by_hand():
    # largest rubric score of the group is 0.5: 0.7 + 0.3 * 1, 0.7 + 0.3 * 0.5, and wrong stays 0.
    assert mix_outcome([1, 1, 0], [0.5, 0.25, 0.5]) == pytest.approx((1.0, 0.85, 0.0))
    assert mix_outcome([1, 0], [0.5, 1.0], normalize=False) == pytest.approx((0.85, 0.0))
    assert mix_outcome([1], [0.0]) == pytest.approx((0.7,))
