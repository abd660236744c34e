"""Questions asked in a conversation, and where tasks and passages come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from turngym.envs.retrieval.passages import Passage
from turngym.envs.splits import SPLITS, Split
from turngym.errors import UnknownNameError
from turngym.rewards.citation import Rubric

__all__ = ["SPLITS", "Dataset", "Exchange", "Kind", "Question", "Source", "Split", "Task"]


class Kind(StrEnum):
    """What a question calls for."""

    ANSWER = "answer"
    NO_ANSWER = "no_answer"
    """The passages do not hold the answer; the right reply says so."""
    CLARIFY = "clarify"
    """The question has several readings; the right reply asks back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """An earlier question with the reply that it got."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question, as asked, with what is known about its answer."""

    text: str
    references: tuple[str, ...] = ()
    """Acceptable answers; at least one when `kind` is ANSWER or there is a clarification."""
    kind: Kind = Kind.ANSWER
    rewrite: str = ""
    """The question as it would be asked without its conversation; empty when nobody wrote it."""
    gold_passages: tuple[str, ...] = ()
    """Ids of passages that hold the answer, in the order in which they are needed."""
    gold_queries: tuple[str, ...] = ()
    """Searches that find the gold passages, in order."""
    rubrics: tuple[Rubric, ...] = ()
    """Single facts that an answer rests on (CaRR); <E0> in them is the answer."""
    clarification: str = ""
    """What the user replies when asked back; empty ends the question with the asking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """An episode: questions to answer one after the other, and what was said before them."""

    id: str
    questions: tuple[Question, ...]
    history: tuple[Exchange, ...] = ()


class Source(Protocol):
    """Where an environment gets its tasks."""

    @property
    def passages(self) -> Sequence[Passage]:
        """Everything that can be found."""
        ...

    def tasks(self, split: Split) -> Sequence[str]:
        """Stable ids of a split."""
        ...

    def find(self, task_id: str) -> tuple[Split, Task]:
        """A task and the split that it belongs to.

        Raises:
            UnknownNameError: no such task.
        """
        ...

    def __hash__(self) -> int:
        """By identity: one index is built per source."""
        ...


class Dataset:
    """Tasks and passages that a loader has read."""

    def __init__(
        self, tasks: Mapping[Split, Sequence[Task]], passages: Sequence[Passage] = ()
    ) -> None:
        self.passages = tuple(passages)
        self._ids = {split: tuple(task.id for task in items) for split, items in tasks.items()}
        self._tasks: dict[str, tuple[Split, Task]] = {
            task.id: (split, task) for split, items in tasks.items() for task in items
        }

    def tasks(self, split: Split) -> Sequence[str]:
        """Stable ids of a split; empty when the data has no such split."""
        return self._ids.get(split, ())

    def find(self, task_id: str) -> tuple[Split, Task]:
        """A task and the split that it belongs to.

        Raises:
            UnknownNameError: no such task; the message names the closest.
        """
        if task_id not in self._tasks:
            raise UnknownNameError("task", task_id, self._tasks)
        return self._tasks[task_id]
