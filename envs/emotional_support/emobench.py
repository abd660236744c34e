"""EmoBench (Sahandfer/EmoBench, MIT) as an evaluation of any agent.

EU (understanding): name the emotion and its cause; right only when both are. EA (application): choose
the most effective response. 400 rows each, half English and half Chinese.
"""

from __future__ import annotations

import asyncio
import json
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turngym.bridge import run
from turngym.errors import DataError, NotTheAgentsFault
from turngym.types import Agent, Context, Sampling, user

__all__ = ["Question", "Score", "chosen", "evaluate", "load_emobench"]

ASK = {
    "en": "{scenario}\n\n{question}\n{choices}\n\nAnswer with the letter of one choice only.",
    "zh": "{scenario}\n\n{question}\n{choices}\n\n只回答一个选项的字母。",
}
QUESTIONS = {
    ("emotion", "en"): "Which emotion would {subject} feel in this scenario?",
    ("emotion", "zh"): "在这个情境中，{subject}会有什么情绪？",
    ("cause", "en"): "What causes the emotion that {subject} would feel in this scenario?",
    ("cause", "zh"): "在这个情境中，{subject}产生这种情绪的原因是什么？",
    ("response", "en"): "Which {kind} would be most effective for {subject} in this scenario?",
    ("response", "zh"): "在这个情境中，对{subject}来说最有效的{kind}是什么？",
}
KINDS_ZH = {"Response": "回应", "Action": "行动"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One multiple-choice question."""

    item: str
    """Questions of one item count together."""
    category: str
    language: str
    prompt: str
    choices: tuple[str, ...]
    answer: int
    """Index of the right choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What an agent reached on one file."""

    accuracy: float
    """Share of items with every question right."""
    items: int
    """Items that count."""
    failed: int
    """Items left out because the agent could not be asked, through no fault of its own."""
    unreadable: int
    """Answers that named no choice; they count as wrong."""
    by_category: dict[str, float]
    question_accuracy: float


def load_emobench(
    path: str | Path, *, language: str | None = None, limit: int | None = None
) -> tuple[Question, ...]:
    """The questions of `EU.jsonl` or `EA.jsonl`, in order.

    Args:
        path: of the file.
        language: keeps `en` or `zh` only.
        limit: keeps the first items only.

    Raises:
        DataError: a line that is no such question, or no question at all; names the file.
    """
    questions: list[Question] = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            if language in (None, row["language"]):
                questions += _understanding(row) if "cause_label" in row else [_application(row)]
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(
                f"{path}, line {number}: not an EmoBench question ({type(error).__name__}: {error})"
            ) from error
    if not questions:
        raise DataError(f"{path} holds no question{f' in {language}' if language else ''}")
    kept = set(list(dict.fromkeys(question.item for question in questions))[:limit])
    return tuple(question for question in questions if question.item in kept)


def evaluate(
    agent: Agent, questions: Sequence[Question], *, seed: int = 0, concurrency: int = 32
) -> Score:
    """The agent's score, answering greedily.

    Args:
        agent: any Agent; each question is a conversation of its own.
        questions: from `load_emobench`.
        seed: passed on to the agent.
        concurrency: questions asked at the same time.

    Raises:
        DataError: no questions.
        NotTheAgentsFault: not one item could be asked; the first failure.
    """
    if not questions:
        raise DataError("EmoBench needs at least one question, got none")
    answers = run(_ask(agent, questions, seed, concurrency))
    answered = list(zip(questions, answers, strict=True))
    failures = {q.item: answer for q, answer in answered if isinstance(answer, NotTheAgentsFault)}
    asked = [
        (question, chosen(answer, question.choices))
        for question, answer in answered
        if isinstance(answer, str) and question.item not in failures
    ]
    if not asked:
        raise next(iter(failures.values()))
    right: dict[str, bool] = {}
    for question, choice in asked:
        right[question.item] = right.get(question.item, True) and choice == question.answer
    category = {question.item: question.category for question, _ in asked}
    by_category = {
        name: _mean([right[item] for item in right if category[item] == name])
        for name in sorted(set(category.values()))
    }
    return Score(
        accuracy=_mean(list(right.values())),
        items=len(right),
        failed=len(failures),
        unreadable=sum(choice is None for _, choice in asked),
        by_category=by_category,
        question_accuracy=_mean([choice == question.answer for question, choice in asked]),
    )


async def _ask(
    agent: Agent, questions: Sequence[Question], seed: int, concurrency: int
) -> list[str | NotTheAgentsFault]:
    """The answer to each question, or why there is none."""
    free = asyncio.Semaphore(concurrency)
    sampling = Sampling(temperature=0.0, max_new_tokens=256)

    async def one(number: int, question: Question) -> str | NotTheAgentsFault:
        context = Context(episode=f"emobench/{number}", new=(user(question.prompt),))
        async with free:
            try:
                completion = await agent.act(context, sampling=sampling, seed=seed)
            except NotTheAgentsFault as failure:
                return failure
        return completion.message.content

    return list(await asyncio.gather(*(one(*numbered) for numbered in enumerate(questions))))


def chosen(answer: str, choices: Sequence[str]) -> int | None:
    """Index of the choice that `answer` names by letter or by its words, None if that is unclear."""
    text = answer.rpartition("</think>")[2].strip()
    letters = string.ascii_uppercase[: len(choices)]
    bare = text.strip("()[]*. :：。").upper()
    if bare in letters and len(bare) == 1:
        return letters.index(bare)
    marked = {
        letter
        for letter in letters
        for opening, closing in (("(", ")"), ("", ")"), ("", "."), ("", ":"), ("**", "**"))
        if text.startswith(f"{opening}{letter}{closing}")
    }
    if len(marked) == 1:
        return letters.index(marked.pop())
    for lead in ("answer is ", "Answer: ", "answer: ", "答案是", "答案：", "选"):
        head = text.partition(lead)[2].strip("([* ")[:1]
        if head and head in letters:
            return letters.index(head)
    named = [
        index for index, choice in enumerate(choices) if text.strip(". ") == choice.strip(". ")
    ]
    return named[0] if len(named) == 1 else None


def _understanding(row: dict[str, Any]) -> list[Question]:
    item = f"EU/{row['language']}/{row['qid']}"
    common = {"item": item, "category": row["coarse_category"], "row": row}
    return [
        _question("emotion", row["emotion_choices"], row["emotion_label"], **common),
        _question("cause", row["cause_choices"], row["cause_label"], **common),
    ]


def _application(row: dict[str, Any]) -> Question:
    item = f"EA/{row['language']}/{row['qid']}"
    return _question("response", row["choices"], row["label"], item, row["category"], row)


def _question(
    kind: str, choices: list[str], label: str, item: str, category: str, row: dict[str, Any]
) -> Question:
    language, answer_kind = row["language"], row.get("question type", "")
    words = QUESTIONS[kind, language].format(
        subject=row["subject"],
        kind=KINDS_ZH.get(answer_kind, answer_kind) if language == "zh" else answer_kind.lower(),
    )
    listed = "\n".join(
        f"({letter}) {choice}"
        for letter, choice in zip(string.ascii_uppercase, choices, strict=False)
    )
    prompt = ASK[language].format(scenario=row["scenario"], question=words, choices=listed)
    return Question(
        item=item,
        category=category,
        language=language,
        prompt=prompt,
        choices=tuple(choices),
        answer=[choice.strip() for choice in choices].index(label.strip()),
    )


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values)
