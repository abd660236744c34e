"""Triage: the taxonomy of arXiv 2604.00356 on hand-made conversations, one per kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.triage import TAXONOMY, Signal, quality, triage
from turngym.triage.score import severity
from turngym.triage.texts import cosine, shorten, trigram_overlap
from turngym.triage.words import SAID_BY_ENVIRONMENT, SAID_BY_USER
from turngym.types import (
    Completion,
    EpisodeStatus,
    ToolCall,
    Trajectory,
    Turn,
    TurnStatus,
    assistant,
    tool,
    user,
)

LONG = "Could you please tell me your booking reference so that I can look?"


def talk(*exchanges, status=EpisodeStatus.TERMINATED, error=""):
    """A trajectory of (agent, answer) pairs; an answer is a user's words or a tool message."""
    seen, turns = (user("Please cancel my flight to Rome."),), []
    for said, answer in exchanges:
        said = assistant(said) if isinstance(said, str) else said
        turns.append(Turn(seen=seen, completion=Completion(message=said)))
        seen = (user(answer) if isinstance(answer, str) else answer,)
    return Trajectory(
        env_id="e",
        task_id="t",
        episode="0",
        seed=0,
        group="g",
        turns=tuple(turns),
        status=status,
        closing=seen if turns else (),
        error=error,
    )


def call(name, number=0, **arguments):
    return assistant("", [ToolCall(id=f"c{number}", name=name, arguments=arguments)])


def calls(*steps):
    """A trajectory of (tool name, arguments, answer)."""
    return talk(
        *[
            (call(name, number, **arguments), tool(answer, f"c{number}"))
            for number, (name, arguments, answer) in enumerate(steps)
        ]
    )


def kinds(trajectory):
    return [signal.kind for signal in triage(trajectory).signals]


def test_the_taxonomy_has_7_categories_and_25_kinds_and_the_lists_know_no_others():
    every = [kind for group in TAXONOMY.values() for kind in group]
    assert len(TAXONOMY) == 7 and len(every) == len(set(every)) == 25
    assert {*SAID_BY_USER, *SAID_BY_ENVIRONMENT} <= set(every)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("No, I asked for Rome.", "correction"),
        ("What do you mean by that?", "clarification"),
        ("I want to speak to a human.", "escalation"),
        ("Never mind.", "quit"),
        ("This is a waste of my time", "negative_stance"),
        ("Thank you so much", "gratitude"),
        ("Yes", "confirmation"),
        ("That worked", "success"),
        ("I\u2019m fed up", "negative_stance"),
    ],
)
def test_what_a_user_says(answer, kind):
    assert kinds(talk(("Done.", answer))) == [kind]


@pytest.mark.parametrize("answer", ["It departs on Monday.", "ROME", "No results page\n1 $2 shirt"])
def test_neutral_words_raise_nothing(answer):
    assert kinds(talk(("Done.", answer))) == []


def test_the_request_itself_is_no_reaction():
    trajectory = talk(("ok", "Monday"))
    first = trajectory.turns[0]
    opened = Turn(seen=(user("Thanks for helping; that is wrong."),), completion=first.completion)
    assert kinds(Trajectory(**{**fields(trajectory), "turns": (opened,)})) == []


def fields(trajectory):
    return {name: getattr(trajectory, name) for name in trajectory.__slots__}


def test_a_request_in_other_words_is_a_rephrase_and_a_page_is_not():
    again = "Please, can you cancel my flight to Rome?"
    assert kinds(talk(("Which one?", again))) == ["rephrase"]
    assert kinds(talk(("Which one?", again.replace(", ", "\n")))) == []


def test_what_differs_in_numbers_alone_is_no_rephrase():
    pages = [(f"click[{i}]", f"You are on page {i} of the very long list") for i in range(4)]
    assert kinds(talk(*pages)) == []


def test_repetition_looks_two_replies_back_and_not_three():
    others = [("First of all I need a moment.", "ok"), ("I am still looking for the thing.", "ok")]
    assert kinds(talk((LONG, "ok"), others[0], (LONG, "ok"))) == ["repetition"]
    assert kinds(talk((LONG, "ok"), *others, (LONG, "ok"))) == []
    assert kinds(talk(("Next page.", "a"), ("Next page.", "b"))) == []  # fewer than five words


def test_dragging_starts_with_the_tenth_user_message():
    # 1 / (1 + 0.25 (n - 5)) < 0.5 needs n > 9; the request counts.
    chat = [(f"Question number {i}", f"answer {i}") for i in range(9)]
    assert kinds(talk(*chat[:8])) == []
    assert kinds(talk(*chat)) == ["dragging"]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("Error: unknown tool 'serch'", "tool_not_found"),
        ("missing required argument 'city'", "invalid_args"),
        ("Permission denied", "auth_misuse"),
        ("No results found", "bad_query"),
        ("order was already cancelled", "state_error"),
        ("429 Too Many Requests", "rate_limit"),
        ("The request timed out", "timeout"),
        ("Connection refused", "network"),
        ("HTTP 503 Service Unavailable", "api_error"),
        ("JSONDecodeError: line 1", "malformed_response"),
        ("maximum context length is exceeded", "context_overflow"),
    ],
)
def test_what_a_tool_answers(answer, kind):
    found = triage(calls(("search", {"q": "a"}, answer))).signals
    assert [(signal.kind, signal.turn) for signal in found] == [(kind, 0)]


def test_words_of_a_page_are_no_failure_unless_the_action_was_refused():
    trajectory = talk(("click[x]", "No results found"))
    assert kinds(trajectory) == []
    refused = tuple(
        Turn(seen=t.seen, completion=t.completion, status=TurnStatus.INVALID_ACTION)
        for t in trajectory.turns
    )
    assert kinds(Trajectory(**{**fields(trajectory), "turns": refused})) == ["bad_query"]


@pytest.mark.parametrize(("times", "found"), [(2, []), (3, ["retry"]), (5, ["retry"])])
def test_a_retry_needs_three_equal_calls_in_a_row(times, found):
    assert kinds(calls(*[("look", {"a": 1, "b": 2}, "page")] * times)) == found
    assert kinds(talk(*[("click[x]", f"page {i}") for i in range(times)])) == found


def test_drift_needs_other_arguments_and_no_progress():
    stuck = [("find", {"q": q}, "No results found") for q in "abc"]
    assert [k for k in kinds(calls(*stuck)) if k != "bad_query"] == ["parameter_drift"]
    fruitful = [("find", {"q": q}, f"found {q}") for q in "abcd"]
    assert kinds(calls(*fruitful)) == []


def test_oscillation_is_three_cycles_of_two_to_five_actions():
    cycle = [("click[back]", "list"), ("click[3]", "item")]
    assert kinds(talk(*cycle * 3)) == ["oscillation"]
    assert kinds(talk(*cycle * 2, cycle[0])) == []
    five = [(f"click[{i}]", f"page {i}") for i in range(5)]
    assert "oscillation" in kinds(talk(*five * 3))
    six = [(f"click[{i}]", f"page {i}") for i in range(6)]
    assert "oscillation" not in kinds(talk(*six * 3))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (EpisodeStatus.AGENT_TIMEOUT, "timeout"),
        (EpisodeStatus.INFRA_TIMEOUT, "timeout"),
        (EpisodeStatus.SIMULATOR_ERROR, "api_error"),
    ],
)
def test_how_the_episode_ended(status, kind):
    assert kinds(talk(("hi", "hello"), status=status)) == [kind]
    assert kinds(talk(status=status)) == [kind]  # broke before the first turn


def test_an_outgrown_context_shows():
    truncated = talk(("hi", "x"), status=EpisodeStatus.TRUNCATED, error="...ContextOverflow: ...")
    assert kinds(truncated) == ["context_overflow"]


def signals(**counts):
    return [Signal(kind=kind, turn=0) for kind, count in counts.items() for _ in range(count)]


@pytest.mark.parametrize(
    ("found", "users", "expected"),
    [
        ({}, 4, (50, "neutral")),
        ({"gratitude": 1}, 4, (62, "good")),  # 50 + 20 * .6
        ({"gratitude": 5}, 4, (69, "good")),  # 50 + 20 * .95
        ({"escalation": 1, "gratitude": 5}, 4, (0, "severe")),
        ({"negative_stance": 1}, 4, (40, "neutral")),
        ({"negative_stance": 5}, 9, (0, "severe")),
        ({"repetition": 5}, 4, (0, "severe")),
        ({"repetition": 2}, 4, (50, "neutral")),  # two are not more than two
        ({"repetition": 3}, 4, (34, "poor")),  # 50 - 8 * 2
        ({"correction": 1}, 3, (35, "poor")),  # 1/3 > .3
        ({"correction": 1}, 4, (50, "neutral")),
        ({"bad_query": 1, "retry": 1, "timeout": 1}, 4, (34, "poor")),  # 50 - 8 - 5 - 3
        ({"bad_query": 9}, 4, (0, "severe")),  # held at 0
    ],
)
def test_the_quality_score_by_hand(found, users, expected):
    assert quality(signals(**found), users) == expected


def test_severity_steps():
    assert [severity(n) for n in range(7)] == [0, 1, 1, 2, 2, 3, 3]


def test_texts():
    assert shorten("a" * 500 + "b" * 2000) == "a" * 400 + "b" * 1600
    assert trigram_overlap("abcd", "bcde") == pytest.approx(1 / 3)  # {bcd} of {abc, bcd, cde}
    assert cosine("red shoes", "red hats") == pytest.approx(0.5)
    assert cosine("", "red") == 0.0


@given(st.text(max_size=40), st.text(max_size=40))
def test_overlap_is_symmetric_and_bounded(a, b):
    assert 0 <= trigram_overlap(a, b) == trigram_overlap(b, a) <= 1
    assert -1e-9 <= cosine(a, b) <= 1 + 1e-9
    assert cosine(a, b) == pytest.approx(cosine(b, a))
