"""Conversations about an invented world, with exact rewrites, passages, searches and answers.

A conversation moves as people do: it stays with a subject, follows an answer ("that town"), asks
the same about somebody else ("And Kato?"), changes the topic, takes two hops at once, asks what no
passage says, and sometimes starts with a question that nobody can understand.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from turngym.envs.conversational_qa.tasks import (
    SPLITS,
    Exchange,
    Kind,
    Question,
    Split,
    Task,
)
from turngym.envs.conversational_qa.world import (
    Entity,
    Relation,
    Voice,
    World,
    build_world,
    relations_of,
    state,
    word,
)
from turngym.envs.retrieval.passages import Passage
from turngym.errors import UnknownNameError
from turngym.rewards.citation import ANSWER, Rubric
from turngym.seeding import derive

__all__ = ["ASK_BACK_TEXT", "NO_ANSWER_TEXT", "InventedSource"]

NO_ANSWER_TEXT = "I do not know."
ASK_BACK_TEXT = "Which one do you mean?"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    """What a question is really about: relations followed one after the other from a subject."""

    subject: Entity
    path: tuple[Relation, ...]


class InventedSource:
    """Tasks over an invented world, made when they are asked for.

    Args:
        num_entities: of all splits together; 60 % belong to training, 20 % each to dev and test.
        num_conversations: per split.
        num_questions: per conversation.
        voice: wording of questions and passages.
        gap: probability that a fact is told nowhere.
        unclear: probability that a conversation opens with a question that calls for asking back.
        whole: a task is a conversation instead of one question in it.
        seed: of everything.
    """

    def __init__(
        self,
        *,
        num_entities: int = 300,
        num_conversations: int = 200,
        num_questions: int = 4,
        voice: Voice = "plain",
        gap: float = 0.15,
        unclear: float = 0.1,
        whole: bool = False,
        seed: int = 0,
    ) -> None:
        self._arguments = (
            num_entities,
            num_conversations,
            num_questions,
            voice,
            gap,
            unclear,
            whole,
            seed,
        )
        self.world: World = build_world(num_entities, seed, voice, gap)
        self._voice: Voice = voice
        self._unclear, self._whole, self._seed = unclear, whole, seed
        self._sizes = num_conversations, num_questions
        conversations, questions = self._sizes
        numbers = [str(n) for n in range(conversations)]
        if not whole:
            numbers = [f"{n}-{q}" for n in numbers for q in range(questions)]
        self._ids = {split: tuple(f"{split}-{n}" for n in numbers) for split in SPLITS}
        self._places: dict[str, Split] = {}
        for split in SPLITS:
            self._places.update(dict.fromkeys(self._ids[split], split))
        self._subjects = {
            split: tuple(e for e in self.world.entities.values() if e.split == split)
            for split in SPLITS
        }
        self._made: dict[tuple[Split, int], tuple[Question, ...]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its arguments, from which everything follows."""
        return _remake, self._arguments

    @property
    def passages(self) -> Sequence[Passage]:
        """One passage per entity, of all splits."""
        return self.world.passages

    def passages_of(self, split: Split) -> Sequence[Passage]:
        """Those about the entities of a split; nothing else is needed to answer its questions."""
        own = self.world.entities
        return tuple(passage for passage in self.passages if own[passage.id].split == split)

    def tasks(self, split: Split) -> Sequence[str]:
        """Ids such as `train-12-3` (conversation, question), or `train-12` for whole ones."""
        return self._ids[split]

    def find(self, task_id: str) -> tuple[Split, Task]:
        """A task and the split that it belongs to.

        Raises:
            UnknownNameError: no such task.
        """
        if task_id not in self._places:
            raise UnknownNameError("task", task_id, [ids[0] for ids in self._ids.values()])
        split, numbers = self._places[task_id], task_id.split("-")[1:]
        questions = self._conversation(split, int(numbers[0]))
        if self._whole:
            return split, Task(id=task_id, questions=questions)
        number = int(numbers[1])
        past = tuple(e for question in questions[:number] for e in _as_history(question))
        return split, Task(id=task_id, questions=(questions[number],), history=past)

    def _conversation(self, split: Split, number: int) -> tuple[Question, ...]:
        made = self._made.get((split, number))
        if made is None:
            made = self._made[split, number] = self._converse(split, number)
        return made

    def _converse(self, split: Split, number: int) -> tuple[Question, ...]:
        rng = random.Random(derive(self._seed, split, number))
        asks: list[_Ask] = []
        questions: list[Question] = []
        for place in range(self._sizes[1]):
            unclear = place == 0 and rng.random() < self._unclear
            ask, text = self._opening(split, rng) if place == 0 else self._next(asks, split, rng)
            unclear = unclear and self._answer(ask) is not None
            if unclear:
                text = word(ask.path, f"that {ask.subject.kind}", self._voice)
            asks.append(ask)
            questions.append(self._question(ask, text, unclear))
        return tuple(questions)

    def _opening(self, split: Split, rng: random.Random) -> tuple[_Ask, str]:
        subject = rng.choice(self._subjects[split])
        ask = _Ask(subject=subject, path=self._path(subject, rng))
        return ask, word(ask.path, subject.name, self._voice)

    def _next(self, asks: Sequence[_Ask], split: Split, rng: random.Random) -> tuple[_Ask, str]:
        last = asks[-1]
        move = rng.choice(("stay", "follow", "same", "topic"))
        answer = self.world.entities.get(self._answer(last) or "")
        if move == "same":  # ellipsis: the same question about somebody else
            others = [e for e in self._subjects[split] if e.kind == last.subject.kind]
            subject = rng.choice([e for e in others if e is not last.subject])
            words = "And {x}?" if self._voice == "plain" else "and {x}?"
            return _Ask(subject=subject, path=last.path), words.format(x=subject.name)
        if move == "topic":
            return self._opening(split, rng)
        subject = answer if move == "follow" and answer is not None else last.subject
        # "that town" means the town named last, which is the answer when that is a town.
        if answer is not None and answer.kind == subject.kind:
            subject = answer
        ask = _Ask(subject=subject, path=self._path(subject, rng, avoid=last.path[0]))
        return ask, word(ask.path, f"that {subject.kind}", self._voice)

    def _path(
        self, subject: Entity, rng: random.Random, avoid: Relation | None = None
    ) -> tuple[Relation, ...]:
        first = rng.choice([r for r in relations_of(subject.kind) if r is not avoid])
        if isinstance(first.target, tuple) or rng.random() < 0.6:
            return (first,)
        return first, rng.choice(relations_of(first.target))

    def _answer(self, ask: _Ask) -> str | None:
        value: str | None = ask.subject.name
        for relation in ask.path:
            value = self.world.entities[value].facts.get(relation.name) if value else None
        return value

    def _question(self, ask: _Ask, text: str, unclear: bool) -> Question:
        answer = self._answer(ask)
        rewrite = word(ask.path, ask.subject.name, self._voice)
        queries, passages = [rewrite], [ask.subject.name]
        for done in range(1, len(ask.path)):
            middle = self._answer(_Ask(subject=ask.subject, path=ask.path[:done]))
            if middle is None:
                break
            queries.append(word(ask.path[done:], middle, self._voice))
            passages.append(middle)
        return Question(
            text=text,
            references=() if answer is None else (answer,),
            kind=Kind.NO_ANSWER if answer is None else Kind.CLARIFY if unclear else Kind.ANSWER,
            rewrite=rewrite,
            gold_passages=tuple(passages) if answer is not None else (),
            gold_queries=tuple(queries),
            rubrics=_rubrics(ask),
            clarification=ask.subject.name if unclear else "",
        )


def _remake(*arguments: Any) -> InventedSource:
    names = "num_entities num_conversations num_questions voice gap unclear whole seed".split()
    return InventedSource(**dict(zip(names, arguments, strict=True)))


def _rubrics(ask: _Ask) -> tuple[Rubric, ...]:
    """One fact per hop; the answer is entity 0, what lies between is 1, 2, ..."""
    numbers = [*range(1, len(ask.path)), ANSWER]
    subjects = [ask.subject.name, *(f"<E{number}>" for number in numbers)]
    return tuple(
        Rubric(
            statement=state(relation, subjects[hop], f"<E{number}>", "plain"),
            entities=frozenset({number, *numbers[max(hop - 1, 0) : hop]}),
        )
        for hop, (relation, number) in enumerate(zip(ask.path, numbers, strict=True))
    )


def _as_history(question: Question) -> tuple[Exchange, ...]:
    answer = question.references[0] if question.references else NO_ANSWER_TEXT
    if not question.clarification:
        return (Exchange(question=question.text, answer=answer),)
    return (
        Exchange(question=question.text, answer=ASK_BACK_TEXT),
        Exchange(question=question.clarification, answer=answer),
    )
