"""ToolUse: serve a simulated user with the tools of a small world, under its policy.

Conversations of several requests, scored by checklists as in CM2 (its turn is our exchange, its step
our turn) and by the end state and the outputs told as in tau-bench (arXiv 2406.12045).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from turngym.envs.canonical import digest
from turngym.envs.env import Observation, StepResult, TextEnv
from turngym.envs.splits import as_split
from turngym.envs.tool_use.calls import call_record, parse_call
from turngym.envs.tool_use.expert import next_action
from turngym.envs.tool_use.mcp_tools import McpServer
from turngym.envs.tool_use.settings import settings_for
from turngym.envs.tool_use.sources import BundledTasks, TaskSource
from turngym.envs.tool_use.state import changes, same_world, state_hash
from turngym.envs.tool_use.tasks import Task, World, gold_state
from turngym.envs.tool_use.tools import ToolBox, ToolResult
from turngym.envs.tool_use.user import AskedUser, hear
from turngym.envs.tool_use.worlds import WORLDS
from turngym.errors import ConfigError, DataError, JudgeFailure, closest
from turngym.rewards.judged import ItemJudge
from turngym.rewards.tool_checklist import (
    ChecklistItem,
    Table,
    about_tools,
    exchange_value,
    fire,
    strict_satisfied,
    unknown,
    verdicts,
)
from turngym.rewards.tool_steps import CallMade, Judged, Step, communicated
from turngym.types import (
    Agent,
    Message,
    Privileged,
    ToolCall,
    TurnStatus,
    assistant,
    system,
    tool,
    user,
)

__all__ = ["ToolUse"]

MAX_CALLS = 16
_PYTHON_CALL = re.compile(r"\s*[A-Za-z_][\w.]*\(.*\)\s*", re.DOTALL)


class ToolUse(TextEnv):
    """A simulated user with requests, tools that read and write a small world, and a policy.

    A reply with tool calls gets their results; any other reply goes to the user. He takes it for a
    question when it has a question mark, else his request is closed: with every strict checklist item
    satisfied he comes to the next one, otherwise he leaves (CM2's turn gate).

    Args:
        size: None for chat models, `demo` for the tiny policies (`settings.PRESETS`).
        tasks: where tasks come from, such as a `DialogueFile`; None: the bundled worlds.
        judge: decides checklist items that have no rule; an agent stands for `ItemJudge(agent)`.
        mcp: MCP servers whose tools the agent gets besides those of the task.
        settings: fields of `ToolUseSettings`, such as `worlds=("library",)`.

    `reset(options=...)` takes `split` (train, dev, test) and `task_id`. The turn reward is the checklist
    weight that fires in the turn. The reward comes at the end: 1 if the state is that after the gold
    calls, every output was told and no request was left with a strict item open, else 0.
    `info["rewards"]` of the last step has all three.

    Raises:
        ConfigError: an unknown setting, or a value out of range.

    Example:
        >>> env = ToolUse(worlds=("library",))
        >>> messages, info = env.reset(options={"task_id": "library/lend/0"})
        >>> messages, reward, terminated, truncated, info = env.step("What is your card?")
    """

    shared: ClassVar[frozenset[str]] = frozenset({"settings", "source", "judge", "mcp", "tools"})

    def __init__(
        self,
        *,
        size: str | None = None,
        tasks: TaskSource | None = None,
        judge: ItemJudge | Agent | None = None,
        mcp: Sequence[McpServer] = (),
        **settings: Any,
    ) -> None:
        self.settings = settings_for(size, settings)
        self.source: TaskSource = tasks or BundledTasks(self.settings)
        self.judge = judge if judge is None or isinstance(judge, ItemJudge) else ItemJudge(judge)
        self.mcp = tuple(mcp)
        super().__init__(max_turns=self.settings.max_turns)

    @property
    def has_expert(self) -> bool:
        """Whether the tasks are those of the bundled worlds."""
        return isinstance(self.source, BundledTasks)

    def tasks(self, split: str = "train") -> Sequence[str]:
        """Stable ids of the tasks of a split; no two splits share a name or a title."""
        return self.source.ids(as_split(split))

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """The policy and the first request.

        Raises:
            ConfigError: unknown option or split, or a task of another split.
            UnknownNameError: unknown task.
        """
        self._task_id = self._choose(options or {})
        self._state = self._task.state
        self._user = AskedUser()
        self._steps: tuple[Step, ...] = ()
        self._before: dict[str, Any] = {}
        self._said: tuple[str, ...] = ()
        self._open_items = 0
        boxes = self._boxes()
        in_text = self.settings.calls == "python"
        self.tools = () if in_text else tuple(each for box in boxes for each in box.schemas)
        opening = self._task.requests[0].opening
        self._earlier: tuple[Message, ...] = ()
        self._exchange: tuple[Message, ...] = (user(opening),)
        info = {"task_id": self._task_id, "split": self._task.split, "exchange": 0}
        return (system(self._rules()), user(opening)), {**info, "anchor": self._anchor()}

    def step(self, action: Message) -> StepResult:
        """The results of the calls, or what the user says to the reply."""
        if self.judge is not None:
            self._exchange = (*self._exchange, action)
        try:
            calls = self._calls(action)
        except DataError as error:
            return self._finish_turn((tool(_unread(error), "call_0"),), bad="malformed call")
        if calls:
            return self._use(calls)
        if not action.content.strip():
            return self._finish_turn((user("Are you there?"),), bad="empty reply")
        return self._answer(action.content)

    def expert(
        self, messages: Sequence[Message], *, noise: float = 0.0, seed: int = 0
    ) -> Message | str:
        """What the scripted agent of the task's world does next (`tool_use.expert`)."""
        rules = next((each.content for each in messages if each.role == "system"), "")
        world = next((w for w in WORLDS.values() if w.policy in rules or w.brief in rules), None)
        if world is None or world.serve is None:
            raise ConfigError("the expert needs the conversation from its system message on")
        action = next_action(world.serve, messages, noise=noise, seed=seed)
        if isinstance(action, str):
            return action
        if self.settings.calls == "python":
            return _python(action)
        return assistant("", (dataclasses.replace(action, id=f"call_{len(messages)}"),))

    @property
    def privileged(self) -> Privileged:
        """Outputs, gold calls, gold state hash and the checklist; nothing before the first reset."""
        if not hasattr(self, "_task_id"):
            return Privileged()
        task = self._task
        return Privileged(
            references=task.outputs,
            gold_actions=tuple(_python(each) for each in task.gold_calls),
            hidden_state={
                "state_hash": state_hash(gold_state(self._world, task)),
                "checklist": [
                    [dataclasses.asdict(item) for item in request.items]
                    for request in task.requests
                ],
            },
        )

    @property
    def _world(self) -> World:
        return self.source.find(self._task_id)[0]

    @property
    def _task(self) -> Task:
        return self.source.find(self._task_id)[1]

    def _boxes(self) -> tuple[ToolBox, ...]:
        """The tools of the task, and those of MCP servers."""
        boxes = (self._world.toolbox, *(server.toolbox for server in self.mcp))
        names = [name for box in boxes for name in box.tools]
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ConfigError(f"several tools are called {', '.join(twice)}")
        return boxes

    def _choose(self, options: Mapping[str, Any]) -> str:
        for name in options:
            if name not in ("split", "task_id"):
                hint = closest(name, ("split", "task_id"))
                raise ConfigError(f"unknown reset option {name!r}.{hint} Known: split, task_id.")
        wanted, task_id = options.get("split"), options.get("task_id")
        split = as_split("train" if wanted is None else wanted)
        if task_id is None:
            known = self.tasks(split)
            if not known:
                raise ConfigError(f"split {split!r} is empty: take more tasks (tasks_per_template)")
            task_id = known[int(self.np_random.integers(len(known)))]
        _, task = self.source.find(task_id)
        judged = any(isinstance(i.check, Judged) for each in task.requests for i in each.items)
        if judged and self.judge is None:
            raise ConfigError(f"task {task_id!r} has items without a rule: give ToolUse a judge")
        if wanted is not None and task.split != split:
            raise ConfigError(f"task {task_id!r} belongs to split {task.split!r}, not to {split!r}")
        return task.task_id

    def _rules(self) -> str:
        world, settings = self._world, self.settings
        rules = world.brief if settings.brief else world.policy
        if settings.calls == "json":
            return rules
        tools = [each for box in self._boxes() for each in box.tools.values()]
        signatures = ", ".join(each.signature for each in tools)
        return f"{rules}\nCalls: {signatures}"

    def _calls(self, action: Message) -> tuple[ToolCall, ...]:
        """The calls in a reply.

        Raises:
            DataError: something meant as a call cannot be read.
        """
        if action.tool_calls:
            return action.tool_calls
        if "<tool_call>" in action.content:
            raise DataError("a tool call is a JSON object with name and arguments")
        if self.settings.calls == "python" and _PYTHON_CALL.fullmatch(action.content):
            return (parse_call(action.content),)
        return ()

    def _use(self, calls: Sequence[ToolCall]) -> StepResult:
        made, new, boxes = [], [], self._boxes()
        for place, each in enumerate(calls):
            if place < MAX_CALLS:
                box = next((box for box in boxes if each.name in box.tools), boxes[0])
                self._state, result = box.call(self._state, each)
            else:
                result = ToolResult(code="refused", message=f"at most {MAX_CALLS} calls at once")
            made.append(call_record(each, result))
            new.append(tool(result.content, each.id, each.name[:100]))
        bad = next((each.name for each in made if not each.ok), "")
        return self._finish_turn(tuple(new), calls=tuple(made), bad=bad and f"{bad[:100]} failed")

    def _answer(self, reply: str) -> StepResult:
        self._said = (*self._said, reply)
        request = self._task.requests[self._user.request]
        heard = hear(self._user, request, reply)
        if not heard.closed:
            self._user = heard.user
            return self._finish_turn((user(heard.says),), reply=reply)
        return self._finish_turn((), reply=reply, closing=True)

    def _finish_turn(
        self,
        new: Observation,
        *,
        calls: tuple[CallMade, ...] = (),
        reply: str = "",
        bad: str = "",
        closing: bool = False,
    ) -> StepResult:
        """Score the turn, and let the user come to his next request or leave."""
        exchange = self._user.request
        items = self._task.requests[exchange].items
        differing = changes(self._task.state, self._state)
        changed = {each.path: each.after for each in differing}
        self._exchange = (*self._exchange, *new) if self.judge is not None else ()
        step = Step(calls=calls, reply=reply, changes=changed)
        self._steps = (*self._steps, dataclasses.replace(step, judged=self._judged(items, step)))
        table = verdicts(items, self._steps, self._before)
        fired = fire(items, table)
        now = len(self._steps) - 1
        earned = sum(i.weight for i, at in zip(items, fired, strict=True) if at == now)
        open_items = unknown(items, table).get(now, ())
        info: dict[str, Any] = {
            "calls": [dataclasses.asdict(each) for each in calls],
            "reply": reply,
            "changes": [dataclasses.asdict(each) for each in differing],
            "state_hash": state_hash(self._state),
            "turn_reward": None if open_items else float(earned),
            "status": TurnStatus.INVALID_ACTION if bad else TurnStatus.OK,
            "feedback": bad,
        }
        if self._steps[-1].judged:
            info["judged"] = dict(self._steps[-1].judged)
        if open_items:
            info["status"] = TurnStatus.REWARD_MISSING
        ended = False
        if closing:
            info["rewards"] = self._exchange_reward(items, table)
            passed = strict_satisfied(items, fired)
            self._open_items += not passed
            ended = not self._next_request(passed)
            if not ended:
                new = (user(self._task.requests[self._user.request].opening),)
        info |= {"exchange": self._user.request, "anchor": self._anchor()}
        if not ended:
            return new, 0.0, False, False, info
        parts = self._outcome()
        outcome = min(parts.values())
        info |= {"exchange": exchange, "outcome": outcome, "success": outcome == 1.0}
        info["rewards"] = {**info["rewards"], **parts}
        return new, outcome, True, False, info

    def _exchange_reward(self, items: Sequence[ChecklistItem], table: Table) -> dict[str, float]:
        """The reward of the exchange that closes; none where the judge failed on what is not strict.

        Raises:
            JudgeFailure: it failed on a strict item, so that nobody can say whether the user goes on.
        """
        try:
            return {"checklist": exchange_value(items, table, self.settings.checklist)}
        except JudgeFailure:
            missing = {name for names in unknown(items, table).values() for name in names}
            if any(each.required_for_next_turn and each.id in missing for each in items):
                raise
            return {}

    def _judged(self, items: Sequence[ChecklistItem], step: Step) -> dict[str, bool | None]:
        """Verdicts on the items without a rule that have not fired yet; None where the judge fails."""
        found: dict[str, bool | None] = {}
        fired = fire(items, verdicts(items, self._steps, self._before))
        for each, place in zip(items, fired, strict=True):
            decided = place is not None or (step.failed and about_tools(each))
            if not isinstance(each.check, Judged) or decided or self.judge is None:
                continue
            try:
                found[each.id] = self.judge.holds(each, self._earlier, self._exchange)
            except JudgeFailure:
                found[each.id] = None
        return found

    def _next_request(self, passed: bool) -> bool:
        """Whether the user comes to another request; if so, he has."""
        following = self._user.request + 1
        last = following == len(self._task.requests)
        leaves = not passed and self.settings.gate == "strict"
        if last or leaves:
            return False
        self._user = AskedUser(request=following)
        if self.judge is not None:
            self._earlier = (*self._earlier, *self._exchange)
            self._exchange = (user(self._task.requests[following].opening),)
        self._before = dict(self._steps[-1].changes)
        self._steps = ()
        return True

    def _outcome(self) -> dict[str, float]:
        """The three checks of the episode, each 0 or 1."""
        gold = gold_state(self._world, self._task)
        told = communicated(self._task.outputs, self._said)
        return {
            "state": float(same_world(self._state, gold)),
            "outputs": float(all(told.values())),
            "strict": float(self._open_items == 0),
        }

    def _anchor(self) -> str:
        place = (self._task_id, self._user.request, sorted(self._user.given), self._said)
        done = tuple(call.name for step in self._steps for call in step.calls)
        return digest((*place, done, self._state))


def _unread(error: DataError) -> str:
    return ToolResult(code="malformed_arguments", message=str(error)[:200]).content


def _python(call: ToolCall) -> str:
    arguments = ",".join(f"{name}={value!r}" for name, value in call.arguments.items())
    return f"{call.name}({arguments})"
