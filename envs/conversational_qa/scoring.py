"""What a reply to a question is worth: pure functions of the question and what the agent did."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from turngym.envs.conversational_qa.protocol import Action, ActionKind
from turngym.envs.conversational_qa.tasks import Kind, Question
from turngym.envs.retrieval.passages import Hit
from turngym.errors import ConfigError
from turngym.rewards.equivalence import judged_equal
from turngym.rewards.intent import intent_gains, intent_terminal
from turngym.rewards.match import best_f1, exact_match, sub_exact_match
from turngym.rewards.search_process import action_label
from turngym.types import Agent

__all__ = [
    "Compare",
    "answer_score",
    "comparison",
    "found_answer",
    "intent_gain",
    "intent_term",
    "reply_parts",
]

Compare = Callable[[str, Sequence[str]], float]

_LABELS = {
    ActionKind.ANSWER: Kind.ANSWER,
    ActionKind.NO_ANSWER: Kind.NO_ANSWER,
    ActionKind.CLARIFY: Kind.CLARIFY,
}


def answer_score(
    question: Question, action: Action | None, asked_back: bool, compare: Compare
) -> float:
    """Score of a final reply in [0, 1]: the right kind of reply, and for answers the right words.

    Args:
        question: with what is known about its answer.
        action: the final reply; None when replies ran out.
        asked_back: whether the agent asked back and was told what the question means.
        compare: an answer with its references, giving 0 to 1; not asked about empty answers.
    """
    if action is None or _LABELS.get(action.kind) != _wanted(question, asked_back):
        return 0.0
    if action.kind is not ActionKind.ANSWER:
        return 1.0
    if not action.text:  # SQuAD's normalisation would make it equal to a reference such as "A"
        return 0.0
    return float(compare(action.text, question.references))


def comparison(answer: str, grader: Agent | None) -> Compare:
    """What `ConversationalQASettings.answer` names.

    Raises:
        ConfigError: `judged` without a grader, or a grader that nobody asks.
    """
    if (answer == "judged") != (grader is not None):
        raise ConfigError(
            '`answer="judged"` and `grader` go together: an Agent that compares answers; in a recipe '
            'env.agents.grader = "http://host/v1#MODEL"'
        )
    if grader is not None:
        return lambda text, references: judged_equal(text, references, grader)
    return exact_match if answer == "em" else best_f1


def intent_term(question: Question, queries: Sequence[str]) -> float:
    """ChatR1's intent term without its weight; 0 for questions that nobody rewrote."""
    return intent_terminal(queries, question.rewrite) if question.rewrite else 0.0


def intent_gain(queries: Sequence[str], rewrite: str) -> float:
    """What the last query adds to the intent term."""
    return intent_gains(queries, rewrite)[-1]


def found_answer(question: Question, hits: Sequence[Hit]) -> bool:
    """Whether a search found a gold passage or, where none is known, the words of a reference."""
    if question.gold_passages:
        return any(hit.passage.id in question.gold_passages for hit in hits)
    return any(sub_exact_match(hit.passage.text, question.references) for hit in hits)


def reply_parts(
    question: Question, action: Action | None, asked_back: bool, queries: Sequence[str]
) -> dict[str, float]:
    """Named parts for reading: em, f1, intent (where they exist) and the action label."""
    taken = None if action is None else _LABELS.get(action.kind)
    parts = {"label": action_label(taken, _wanted(question, asked_back))}
    if question.references:
        text = action.text if action is not None and action.kind is ActionKind.ANSWER else ""
        parts["em"] = float(exact_match(text, question.references))
        parts["f1"] = best_f1(text, question.references)
    if question.rewrite:
        parts["intent"] = intent_term(question, queries)
    return parts


def _wanted(question: Question, asked_back: bool) -> Kind:
    return Kind.ANSWER if question.kind is Kind.CLARIFY and asked_back else question.kind
