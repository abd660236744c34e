"""ConversationalQA: answer questions of a conversation by searching.

After ChatR1 (arXiv 2510.13312) and Search-R1 (arXiv 2503.09516), with the actions of ConvAgent
(arXiv 2601.13115) and the verdicts of ReSeek (arXiv 2510.00568) as options.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from turngym.envs.canonical import digest
from turngym.envs.conversational_qa import protocol
from turngym.envs.conversational_qa.conversations import InventedSource
from turngym.envs.conversational_qa.expert import expert
from turngym.envs.conversational_qa.library import open_retriever, open_source
from turngym.envs.conversational_qa.progress import Due, Progress
from turngym.envs.conversational_qa.protocol import Action, ActionKind
from turngym.envs.conversational_qa.scoring import (
    answer_score,
    comparison,
    found_answer,
    intent_gain,
    intent_term,
    reply_parts,
)
from turngym.envs.conversational_qa.settings import settings_for
from turngym.envs.conversational_qa.tasks import Kind, Question, Source, Split, Task
from turngym.envs.env import Observation, StepResult, TextEnv
from turngym.envs.retrieval.passages import Hit, Retriever
from turngym.envs.splits import as_split
from turngym.errors import ConfigError, closest
from turngym.rewards.search_process import reseek_judge
from turngym.types import Agent, Message, Privileged, TurnStatus, system, tool, user

__all__ = ["ConversationalQA"]


class ConversationalQA(TextEnv):
    """Questions in a conversation, answered by searching as often as needed.

    Actions, in tags or as tool calls: search, answer and, where mixed initiative is on, clarify
    (ask back) and noanswer. A reply without an action costs a turn (status `invalid_action`). After
    `max_turns` replies to a question one more is asked for, in which a search finds nothing.

    Args:
        size: None, `demo` (tiny policies), `search_r1` or `chatr1` (`settings.PRESETS`).
        source: tasks and passages of your own; None opens what the settings name.
        retriever: a search engine of your own; None opens what the settings name.
        grader: who says whether an answer means the same as a reference, for `answer="judged"`.
        settings: fields of `ConversationalQASettings`.

    `reset(options=...)` takes `split` (train, dev, test) and `task_id`. The outcome is the mean
    score of the questions. `info` of each step has `action`, for searches `query` and `retrieved`
    (passage ids), and named parts in `rewards`.

    Raises:
        ConfigError: an unknown setting, or a value out of range.
        DataError: data or corpus are missing or malformed.
        MissingExtraError: tantivy is not installed.

    Example:
        >>> env = ConversationalQA()
        >>> messages, info = env.reset(seed=0)
        >>> messages, reward, terminated, truncated, info = env.step("<search> town </search>")
    """

    shared: ClassVar[frozenset[str]] = frozenset(
        {
            "settings",
            "source",
            "retriever",
            "_own_retriever",
            "tools",
            "success_at",
            "_ids",
            "_allowed",
            "_compare",
        }
    )

    def __init__(
        self,
        *,
        size: str | None = None,
        source: Source | None = None,
        retriever: Retriever | None = None,
        grader: Agent | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.settings = settings_for(size, settings)
        self.source = source if source is not None else open_source(self.settings)
        self._own_retriever = retriever
        self.retriever = self._retriever("train")
        self._compare = comparison(self.settings.answer, grader)
        self.success_at = self.settings.success_at
        asks = self.settings.mixed_initiative
        self._allowed = tuple(ActionKind) if asks else (ActionKind.SEARCH, ActionKind.ANSWER)
        self.tools = () if self._tags else protocol.tool_schemas(self._allowed)
        self._ids: dict[Split, tuple[str, ...]] = {}

    @property
    def legal_actions(self) -> tuple[str, ...]:
        """One tag per action, where actions are tags."""
        kinds = self._allowed if self._tags else ()
        return tuple(
            f"<{kind}></{kind}>" if kind is ActionKind.NO_ANSWER else f"<{kind}>...</{kind}>"
            for kind in kinds
        )

    def tasks(self, split: str = "train") -> Sequence[str]:
        """Stable ids of a split; without mixed initiative only tasks that have an answer."""
        name = as_split(split)
        if name not in self._ids:
            ids = self.source.tasks(name)
            if not self.settings.mixed_initiative:
                ids = [task_id for task_id in ids if self._questions(task_id)]
            self._ids[name] = tuple(ids)
        return self._ids[name]

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """What to do, the conversation so far, and the question.

        Raises:
            ConfigError: unknown option or split, a task of another split, or an empty split.
            UnknownNameError: unknown task.
        """
        split, task = self._choose(options or {})
        self.retriever = self._retriever(split)
        self._progress = Progress(task_id=task.id)
        settings = self.settings
        rules = protocol.rules(
            self._allowed, tags=self._tags, judge=settings.judge, cite=settings.cite
        )
        first = protocol.opening(
            task.history,
            self._question.text,
            brief=settings.brief,
            max_chars=settings.max_context_chars - len(rules),
        )
        messages = (user(first),) if settings.brief else (system(rules), user(first))
        self._update(shown=sum(len(message.content) for message in messages))
        return messages, {"task_id": task.id, "split": split, "anchor": self._anchor()}

    def step(self, action: Message) -> StepResult:
        """One reply; the score comes when the last question is over."""
        dropped = self._progress.dropped
        self._update(replies=self._progress.replies + 1)
        parsed, verdict_reward = self._parse(action)
        if parsed is None:
            result = self._refuse(action)
        elif parsed.kind is ActionKind.SEARCH:
            result = self._search(action, parsed)
        elif parsed.kind is ActionKind.CLARIFY and self._answers_back:
            result = self._clarify(action)
        else:
            result = self._close(action, parsed)
        if new := self._progress.dropped[len(dropped) :]:
            result[4]["drops"] = list(new)
        return result if verdict_reward is None else _add_turn_reward(result, verdict_reward)

    @property
    def has_expert(self) -> bool:
        """The scripted agent reads the invented world alone, and acts in tags."""
        return self._tags and isinstance(self.source, InventedSource)

    def expert(self, messages: Sequence[Message], *, noise: float = 0.0, seed: int = 0) -> str:
        """What the scripted agent for the invented world does next (`conversational_qa.expert`).

        Raises:
            NotImplementedError: other data, or an agent that acts by tool calls.
        """
        if not self.has_expert:
            raise NotImplementedError("the scripted agent reads the invented world, in tags")
        return expert(messages, noise=noise, seed=seed)

    @property
    def privileged(self) -> Privileged:
        """References, gold searches and rewrite of the question; nothing before the first reset."""
        if not hasattr(self, "_progress"):
            return Privileged()
        question, asked = self._question, self._progress.asked
        questions = self._questions(self._progress.task_id)
        rewrites = [question.rewrite] if question.rewrite else []
        queries = question.gold_queries or tuple(rewrites)
        return Privileged(
            references=question.references,
            exchange_references=tuple(
                None if number is None else questions[number].references for number in asked
            ),
            gold_actions=tuple(f"<search> {query} </search>" for query in queries),
            hidden_state={
                "rewrites": rewrites,
                "gold_passages": list(question.gold_passages),
                "kind": question.kind.value,
                "rubrics": [
                    {"statement": fact.statement, "entities": sorted(fact.entities)}
                    for fact in question.rubrics
                ],
            },
        )

    @property
    def question_number(self) -> int:
        """Number of the question being answered; 0 unless the task is a whole conversation."""
        return self._progress.question

    @property
    def _tags(self) -> bool:
        return self.settings.protocol == "tags"

    @property
    def _question(self) -> Question:
        return self._questions(self._progress.task_id)[self._progress.question]

    @property
    def _answers_back(self) -> bool:
        question = self._question
        wanted = question.kind is Kind.CLARIFY and not self._progress.asked_back
        return wanted and bool(question.clarification) and not self._last_reply

    @property
    def _last_reply(self) -> bool:
        return self._progress.replies > self.settings.max_turns

    def _questions(self, task_id: str) -> tuple[Question, ...]:
        questions = self.source.find(task_id)[1].questions
        if self.settings.mixed_initiative:
            return questions
        return tuple(question for question in questions if question.kind is Kind.ANSWER)

    def _retriever(self, split: Split) -> Retriever:
        own = self._own_retriever
        return own if own is not None else open_retriever(self.settings, self.source, split)

    def _choose(self, options: Mapping[str, Any]) -> tuple[Split, Task]:
        for name in options:
            if name not in ("split", "task_id"):
                hint = closest(name, ("split", "task_id"))
                raise ConfigError(f"unknown reset option {name!r}.{hint} Known: split, task_id.")
        wanted = options.get("split")
        task_id = options.get("task_id")
        if task_id is None:
            ids = self.tasks(wanted or "train")
            if not ids:
                raise ConfigError(f"split {wanted or 'train'!r} of this data is empty")
            task_id = ids[int(self.np_random.integers(len(ids)))]
        split, task = self.source.find(task_id)
        if wanted is not None and split != as_split(wanted):
            raise ConfigError(f"task {task_id!r} belongs to split {split!r}, not to {wanted!r}")
        if not self._questions(task_id):
            raise ConfigError(f"task {task_id!r} has no answer and mixed_initiative is off")
        return split, task

    def _parse(self, reply: Message) -> tuple[Action | None, float | None]:
        if not self._tags:
            return protocol.parse_call(reply, self._allowed), None
        action = protocol.parse_tags(reply.content, self._allowed)
        due = self._progress.due
        if due is None:
            return action, None
        verdict = protocol.parse_verdict(reply.content)
        if verdict is None:
            return None, None  # the verdict stays due
        self._update(due=None)
        if self.settings.drop_rejected and not verdict:
            now = self._progress
            self._update(dropped=(*now.dropped, due.turn), shown=now.shown - due.chars)
        return action, reseek_judge(verdict, due.useful)

    def _refuse(self, reply: Message) -> StepResult:
        if self._last_reply:
            return self._close(reply, None)
        notice = protocol.invalid_notice(self._allowed, tags=self._tags, brief=self.settings.brief)
        info = {"status": TurnStatus.INVALID_ACTION, "action": "invalid"}
        return self._go_on(reply, notice, info)

    def _search(self, reply: Message, action: Action) -> StepResult:
        if self._last_reply:
            return self._close(reply, None)
        now, question = self._progress, self._question
        (hits,) = self.retriever.search([action.text], self.settings.top_k)
        ids = [hit.passage.id for hit in hits]
        self._update(
            queries=(*now.queries, action.text),
            found=(*now.found, *ids),
        )
        shown = self._information(hits)
        if self.settings.judge:
            useful = found_answer(question, hits)
            self._update(due=Due(useful=useful, turn=self.turn + 1, chars=len(shown)))
        info: dict[str, Any] = {"action": "search", "query": action.text, "retrieved": ids}
        if question.gold_passages:
            gold = set(question.gold_passages)
            info["rewards"] = {"recall": len(gold.intersection(self._progress.found)) / len(gold)}
        result = self._go_on(reply, shown, info)
        if self.settings.intent_at == "search" and question.rewrite:
            gain = intent_gain(self._progress.queries, question.rewrite)
            return _add_turn_reward(result, self.settings.intent_weight * gain)
        return result

    def _clarify(self, reply: Message) -> StepResult:
        now = self._progress
        self._update(asked_back=True, exchange=now.exchange + 1, asked=(*now.asked, None))
        said = protocol.spoken(self._question.clarification, brief=self.settings.brief)
        return self._go_on(reply, said, {"action": "clarify"})

    def _close(self, reply: Message, action: Action | None) -> StepResult:
        """The end of a question, by a final reply or because replies ran out (None)."""
        now, question, settings = self._progress, self._question, self.settings
        score = answer_score(question, action, now.asked_back, self._compare)
        intent = settings.intent_weight * intent_term(question, now.queries)
        self._update(scores=(*now.scores, score), intents=(*now.intents, intent))
        info: dict[str, Any] = {
            "action": "invalid" if action is None else action.kind.value,
            "rewards": {
                "score": score,
                **reply_parts(question, action, now.asked_back, now.queries),
            },
        }
        if action is not None and action.kind is ActionKind.ANSWER:
            info["answer"] = action.text
        if action is None:
            info["status"] = TurnStatus.INVALID_ACTION
        if now.question + 1 < len(self._questions(now.task_id)):
            self._update(
                question=now.question + 1,
                exchange=now.exchange + 1,
                asked=(*now.asked, now.question + 1),
                replies=0,
                asked_back=False,
                queries=(),
                due=None,
            )
            asked = protocol.spoken(self._question.text, brief=settings.brief)
            return self._go_on(reply, asked, info, question=True)
        total = sum(self._progress.scores) / len(self._progress.scores)
        outcome = total
        if settings.intent_at == "end":
            outcome += sum(self._progress.intents) / len(self._progress.intents)
        info |= {"outcome": outcome, "success": total >= self.success_at}
        info |= {"exchange": now.exchange, "anchor": self._anchor()}
        return (), outcome, action is not None, action is None, info

    def _information(self, hits: Sequence[Hit]) -> str:
        settings = self.settings
        room = settings.max_context_chars - self._progress.shown
        return protocol.information(
            hits,
            tags=self._tags,
            brief=settings.brief,
            max_chars=min(settings.max_information_chars, room),
        )

    def _go_on(
        self, reply: Message, text: str, info: dict[str, Any], question: bool = False
    ) -> StepResult:
        messages = _answers(reply, text, question)
        self._update(shown=self._progress.shown + sum(len(m.content) for m in messages))
        info |= {"exchange": self._progress.exchange, "anchor": self._anchor()}
        return messages, 0.0, False, False, info

    def _update(self, **values: Any) -> None:
        self._progress = replace(self._progress, **values)

    def _anchor(self) -> str:
        now = self._progress
        seen = (now.task_id, now.question, now.asked_back, now.found, now.dropped)
        return digest((*seen, now.due is not None))


def _answers(reply: Message, text: str, question: bool) -> Observation:
    """`text` to the agent: the first of its tool calls gets it, every further one a refusal."""
    if not reply.tool_calls:
        return (user(text),)
    first, *rest = reply.tool_calls
    refused = [tool("ignored: one call at a time", call.id, call.name) for call in rest]
    if question:
        return (tool("done", first.id, first.name), *refused, user(text))
    return (tool(text, first.id, first.name), *refused)


def _add_turn_reward(result: StepResult, value: float) -> StepResult:
    messages, reward, terminated, truncated, info = result
    info = {**info, "turn_reward": info.get("turn_reward", 0.0) + value}
    return messages, reward + value, terminated, truncated, info
