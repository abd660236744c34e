"""Answer, intent and retrieval rewards: goldens by hand, properties by hypothesis."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.rewards.intent import (
    chatr1_intent,
    intent_at_best,
    intent_gains,
    intent_terminal,
    intent_turns,
)
from turngym.rewards.match import best_f1, exact_match, f1, normalize, set_f1, sub_exact_match
from turngym.rewards.retrieval import ndcg, recall, reciprocal_rank
from turngym.types import Completion, EpisodeStatus, Privileged, Trajectory, Turn, assistant

WORDS = st.lists(st.sampled_from("red blue the a cat sat".split()), max_size=6).map(" ".join)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "The  Eiffel-Tower, a tower!",
            "eiffeltower tower",
        ),  # punctuation goes, nothing replaces it
        ("Another theme", "another theme"),  # articles only as whole words
        ("a.", ""),
        ("Ärger's", "ärgers"),
    ],
)
def test_normalisation_is_squads(text, wanted):
    assert normalize(text) == wanted


def test_exact_match_takes_any_reference():
    assert exact_match("The Paris.", ["Rome", "paris"])
    assert not exact_match("Paris, France", ["paris"])
    assert sub_exact_match("It is Paris, France", ["paris"])
    assert not sub_exact_match("Paris", ["the"])  # normalises to nothing, which is in every text


def test_f1_by_hand():
    # 2 of 3 predicted tokens, 2 of 4 wanted: p 2/3, r 1/2, f1 = 4/7.
    assert f1("cat sat mat", "cat sat on roof") == pytest.approx(4 / 7)
    # The second "cat" is not in the reference: common 1, sizes 2 and 1.
    assert f1("cat cat", "cat") == pytest.approx(2 / 3)
    assert set_f1("cat cat", "cat") == 1.0
    assert f1("", "the") == 1.0 and f1("", "cat") == 0.0 and f1("cat", "") == 0.0
    assert best_f1("cat", ["dog", "cat sat"]) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="at least one"):
        best_f1("cat", [])


@given(WORDS, WORDS)
def test_f1_is_symmetric_bounded_and_one_only_for_the_same_bag(left, right):
    score = f1(left, right)
    assert score == f1(right, left) and 0 <= score <= 1
    same = sorted(normalize(left).split()) == sorted(normalize(right).split())
    assert (score == 1) == same


def test_intent_by_hand():
    # rewrite has 3 tokens. q0 shares 1 of 1: 2*1/(1+3) = 0.5; q1 shares 2 of 2: 0.8; q2 repeats q0.
    queries, rewrite = ["paris", "paris mayor", "Paris"], "mayor of paris"
    assert intent_terminal(queries, rewrite, 0.5) == pytest.approx(0.4)
    assert intent_at_best(queries, rewrite) == pytest.approx((0, 0.8, 0))
    assert intent_gains(queries, rewrite) == pytest.approx((0.5, 0.3, 0))
    assert intent_at_best(["x", "x"], "x") == (1.0, 0.0)  # ties go to the first
    assert intent_terminal([], rewrite) == 0.0 and intent_at_best([], rewrite) == ()


@given(st.lists(WORDS, max_size=5), WORDS, st.floats(0, 3))
def test_the_three_placements_of_the_intent_term_have_one_sum(queries, rewrite, alpha):
    total = intent_terminal(queries, rewrite, alpha)
    assert sum(intent_at_best(queries, rewrite, alpha)) == pytest.approx(total)
    assert sum(intent_gains(queries, rewrite, alpha)) == pytest.approx(total)
    assert all(gain >= 0 for gain in intent_gains(queries, rewrite, alpha))


def episode(*queries, rewrites=("mayor of paris",)):
    turns = tuple(
        Turn(
            seen=(),
            completion=Completion(message=assistant("x")),
            info={"query": query} if query else {},
        )
        for query in queries
    )
    return Trajectory(
        env_id="e",
        task_id="t",
        episode="0/0/0",
        seed=0,
        group="g",
        turns=turns,
        status=EpisodeStatus.TERMINATED,
        privileged=Privileged(hidden_state={"rewrites": rewrites}),
    )


def test_recorded_intent_rewards_only_turns_that_searched():
    played = episode("paris", None, "paris mayor", None)
    assert chatr1_intent(played) == pytest.approx(0.8)
    two = episode("paris", None, "paris mayor", None, rewrites=("rome", "mayor of paris"))
    assert intent_turns(two) == intent_turns(played) and chatr1_intent(two) == chatr1_intent(played)
    assert intent_turns(played) == pytest.approx((0.0, None, 0.8, None))
    assert intent_turns(episode("paris", rewrites=())) == (None,)


def test_retrieval_scores_by_hand():
    ranking = ["x", "a", "y", "b"]
    assert recall(ranking, {"a", "b", "c"}, 3) == pytest.approx(1 / 3)
    assert reciprocal_rank(ranking, {"a", "b"}, 4) == 0.5
    assert reciprocal_rank(ranking, {"b"}, 3) == 0.0
    # DCG@4 = 2/log2(3) + 1/log2(5); ideal order is a, b, c: 2 + 1/log2(3) + 1/2.
    gains = {"a": 2, "b": 1, "c": 1}
    wanted = (2 / math.log2(3) + 1 / math.log2(5)) / (2 + 1 / math.log2(3) + 0.5)
    assert ndcg(ranking, gains, 4) == pytest.approx(wanted)
    # With k = 1 the ideal is cut as well.
    assert ndcg(["b", "a"], gains, 1) == 0.5


def test_repeating_a_hit_earns_nothing():
    assert ndcg(["a", "a", "a"], {"a": 1, "b": 1}, 3) < 1
    assert recall(["a", "a", "b"], {"a", "b"}, 2) == 1.0


def test_no_relevant_passage_is_refused_and_not_a_zero():
    for score in (lambda: recall(["a"], [], 1), lambda: ndcg(["a"], {"a": 0}, 1)):
        with pytest.raises(ValueError, match="at least one"):
            score()
    with pytest.raises(ValueError, match="k must be"):
        recall(["a"], ["a"], 0)


@given(st.permutations("abcdef"), st.integers(1, 6))
def test_a_perfect_ranking_scores_one_and_swapping_upwards_never_hurts(order, k):
    gains = {"a": 3.0, "b": 2.0, "c": 1.0}
    assert ndcg("abcdef", gains, k) == pytest.approx(1.0)
    better = sorted(order[:2], key=lambda name: -gains.get(name, 0)) + list(order[2:])
    assert ndcg(better, gains, k) >= ndcg(order, gains, k) - 1e-12
