"""tau2-bench's tasks as conversations: `Conversation(Tau2Tasks(domain, tasks), user=agent)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from turngym.envs.tool_use.conversation import ConversationTask, Ending
from turngym.envs.tool_use.tasks import Split, split_of
from turngym.envs.tool_use.tau2.domains import Domain, start_state
from turngym.envs.tool_use.tau2.score import score
from turngym.envs.tool_use.tau2.tasks import Tau2Task
from turngym.errors import UnknownNameError
from turngym.rewards.judged import ItemJudge
from turngym.rewards.tool_checklist import ChecklistItem
from turngym.rewards.tool_steps import Judged
from turngym.types import Agent

__all__ = ["Tau2Tasks"]


class Tau2Tasks:
    """The tasks of a domain; a split follows from the id.

    Args:
        domain: as `load_domain` gives it.
        tasks: as `load_tasks` gives them.
        judge: decides the sentences about the conversation; an agent stands for `ItemJudge(agent)`.
            None: a task whose reward needs one ends with status `judge_error`.
    """

    def __init__(
        self, domain: Domain, tasks: Sequence[Tau2Task], *, judge: ItemJudge | Agent | None = None
    ) -> None:
        self.domain = domain
        self._tasks = {task.id: task for task in tasks}
        self._judge = judge if judge is None or isinstance(judge, ItemJudge) else ItemJudge(judge)
        self._made: dict[str, ConversationTask] = {}

    def ids(self, split: Split) -> Sequence[str]:
        """The tasks of a split."""
        return tuple(key for key in self._tasks if split_of(key) == split)

    def find(self, task_id: str) -> ConversationTask:
        """The task of an id.

        Raises:
            UnknownNameError: there is none.
            DataError: its scene cannot be set.
        """
        if task_id not in self._tasks:
            raise UnknownNameError("task", task_id, list(self._tasks)[:20])
        if task_id not in self._made:
            task, domain = self._tasks[task_id], self.domain
            self._made[task_id] = ConversationTask(
                task_id=task_id,
                split=split_of(task_id),
                policy=domain.policy,
                scenario=task.scenario or task.ticket,
                state=start_state(domain, task),
                toolbox=domain.agent,
                user_toolbox=domain.user,
                history=task.history,
                references=task.outputs,
                score=partial(self._score, task),
            )
        return self._made[task_id]

    def _score(self, task: Tau2Task, ending: Ending) -> tuple[float | None, Mapping[str, float]]:
        judge = self._judge

        def holds(sentence: str) -> bool:
            assert judge is not None
            return judge.holds(_as_item(sentence), (), ending.messages)

        got = score(
            self.domain,
            task,
            ending.calls,
            ending.replies,
            termination=ending.termination,
            judge=None if judge is None else holds,
        )
        parts = {name.lower(): value for name, value in got.components.items() if value is not None}
        return got.reward, parts


def _as_item(sentence: str) -> ChecklistItem:
    return ChecklistItem(
        id="sentence",
        question=f"Is this true of the whole conversation: {sentence}",
        check=Judged(),
        weight=1.0,
        focus_on=("assistant.content.user_visible_reply", "assistant.tool_calls"),
    )
