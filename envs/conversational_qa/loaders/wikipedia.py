"""QReCC, TopiOCQA, INSCIT and FaithDial, read from a user's copy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from turngym.envs.conversational_qa.loaders.rows import (
    Loaded,
    Row,
    alternating,
    data_error,
    passage_id,
    read_json,
    rows_of,
)
from turngym.envs.conversational_qa.tasks import Exchange, Kind, Question, Task
from turngym.envs.retrieval.passages import Passage

__all__ = ["faithdial", "inscit", "qrecc", "topiocqa"]

_INSCIT_KINDS = {
    "directAnswer": Kind.ANSWER,
    "relevantAnswer": Kind.ANSWER,
    "clarification": Kind.CLARIFY,
    "noAnswer": Kind.NO_ANSWER,
}


def qrecc(path: Path) -> Loaded:
    """One task per row of QReCC, or of a SCAI-QReCC-21 ground truth (`Truth_*`).

    An empty answer means that annotators found none. A SCAI ground truth holds no questions as
    asked: there the rewrite is the question.
    """
    tasks = []
    for row in rows_of(read_json(path), str(path)):
        conversation = row.key("Conversation_no")
        rewrite = row.text("Rewrite", "Truth_rewrite")
        question = _question(
            row.maybe("Question") or rewrite,
            [row.text("Answer", "Truth_answer")],
            rewrite=rewrite,
            gold=row.strings("Truth_passages") if "Truth_passages" in row.values else (),
        )
        past = row.strings("Context") if "Context" in row.values else ()
        name = f"{conversation}-{row.key('Turn_no')}"
        history = alternating(past, row.where)
        tasks.append((conversation, Task(id=name, questions=(question,), history=history)))
    return Loaded(tasks=tuple(tasks))


def topiocqa(path: Path) -> Loaded:
    """One task per row of TopiOCQA; a question marked UNANSWERABLE wants no answer."""
    tasks = []
    said: dict[str, list[Exchange]] = {}
    for row in rows_of(read_json(path), str(path)):
        conversation, text = row.key("Conversation_no"), row.text("Question")
        more = row.rows("Additional_answers") if "Additional_answers" in row.values else ()
        answers = [row.text("Answer"), *(other.text("Answer") for other in more)]
        known = [answer for answer in answers if answer != "UNANSWERABLE"]
        question = _question(text, known if answers[0] != "UNANSWERABLE" else [])
        history = said.setdefault(conversation, [])
        name = f"{conversation}-{row.key('Turn_no')}"
        tasks.append((conversation, Task(id=name, questions=(question,), history=tuple(history))))
        history.append(Exchange(question=text, answer=answers[0]))
    return Loaded(tasks=tuple(tasks))


def inscit(path: Path) -> Loaded:
    """One task per turn of INSCIT; the first label decides what the question calls for."""
    data = read_json(path)
    if not isinstance(data, dict):
        raise data_error(str(path), "expected an object of conversations", data)
    tasks = []
    passages: dict[str, Passage] = {}
    for conversation, value in data.items():
        for number, turn in enumerate(
            Row({"c": value}, f"{path}[{conversation}]").row("c").rows("turns")
        ):
            *past, text = turn.strings("context") or ("",)
            labels = turn.rows("labels")
            evidence = [item for label in labels for item in label.rows("evidence")]
            found = [_evidence(item) for item in evidence]
            passages.update((passage.id, passage) for passage in found)
            kind = _inscit_kind(turn, labels)
            question = Question(
                text=text,
                references=tuple(
                    label.text("response")
                    for label in labels
                    if _INSCIT_KINDS.get(label.text("responseType")) is kind
                ),
                kind=kind,
                gold_passages=tuple(dict.fromkeys(passage.id for passage in found)),
            )
            name = f"{conversation}-{number + 1}"
            history = alternating(past, turn.where)
            tasks.append((conversation, Task(id=name, questions=(question,), history=history)))
    return Loaded(tasks=tuple(tasks), passages=tuple(passages.values()))


def faithdial(path: Path) -> Loaded:
    """One task per reply of FaithDial; its piece of knowledge is the gold passage."""
    tasks = []
    passages: dict[str, Passage] = {}
    for number, dialogue in enumerate(rows_of(read_json(path), str(path))):
        for place, turn in enumerate(dialogue.rows("utterances")):
            *past, text = turn.strings("history") or ("",)
            knowledge = turn.text("knowledge")
            passage = Passage(id=passage_id(knowledge), text=knowledge)
            passages[passage.id] = passage
            question = _question(text, [turn.text("response")], gold=(passage.id,))
            # Some dialogues open with the wizard; that line is nobody's answer.
            history = alternating(past[len(past) % 2 :], turn.where)
            task = Task(id=f"{number}-{place}", questions=(question,), history=history)
            tasks.append((str(number), task))
    return Loaded(tasks=tuple(tasks), passages=tuple(passages.values()))


def _question(
    text: str, answers: Sequence[str], *, rewrite: str = "", gold: tuple[str, ...] = ()
) -> Question:
    references = tuple(answer for answer in answers if answer.strip())
    kind = Kind.ANSWER if references else Kind.NO_ANSWER
    return Question(
        text=text, references=references, kind=kind, rewrite=rewrite, gold_passages=gold
    )


def _inscit_kind(turn: Row, labels: Sequence[Row]) -> Kind:
    first = labels[0].text("responseType") if labels else ""
    if first not in _INSCIT_KINDS:
        raise data_error(f"{turn.where}.labels", f"responseType of {sorted(_INSCIT_KINDS)}", first)
    return _INSCIT_KINDS[first]


def _evidence(row: Row) -> Passage:
    titles = row.values.get("passage_titles", [])
    shown = " / ".join(map(str, titles)) if isinstance(titles, list) else str(titles)
    return Passage(id=row.text("passage_id"), title=shown, text=row.text("passage_text"))
