"""A conversation with a user whom a language model or a script plays, scored when it is over.

tau2-bench's domains, NeMo Gym's simulated customers and BFCL's multi-turn entries are sources of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from turngym.envs.canonical import digest
from turngym.envs.env import Observation, StepResult, TextEnv
from turngym.envs.splits import as_split
from turngym.envs.tool_use.blame import MessageVerifier
from turngym.envs.tool_use.calls import call_record
from turngym.envs.tool_use.llm_user import LLMUser, UserTurn
from turngym.envs.tool_use.state import changes, state_hash
from turngym.envs.tool_use.tasks import Split
from turngym.envs.tool_use.tools import State, ToolBox
from turngym.errors import ConfigError, JudgeFailure, SimulatorFailure, closest
from turngym.rewards.tool_steps import CallMade
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

__all__ = ["Conversation", "ConversationSource", "ConversationTask", "Ending", "SideCall"]

GREETING = "Hi! How can I help you today?"
MAX_USER_CALLS = 20
_NO_TOOLS = ToolBox(())


@dataclass(frozen=True, slots=True, kw_only=True)
class SideCall:
    """A call and whose it is."""

    side: str
    """`assistant` or `user`."""
    call: ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a conversation went, for its scorer."""

    calls: tuple[SideCall, ...]
    replies: tuple[str, ...]
    """What the agent told the user."""
    messages: tuple[Message, ...]
    """All of it, as the agent saw it."""
    termination: str = "user_stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationTask:
    """One conversation: what both sides know and can do, and what it is worth."""

    task_id: str
    split: Split
    policy: str
    scenario: str
    state: State = field(repr=False)
    toolbox: ToolBox
    score: Callable[[Ending], tuple[float | None, Mapping[str, float]]] = field(repr=False)
    """Reward, None where it needs a judge that there is not, and its named parts."""
    user_toolbox: ToolBox = _NO_TOOLS
    script: tuple[str, ...] = ()
    """What the user says, one message after each reply of the agent; then nobody has to play him."""
    history: tuple[Message, ...] = ()
    references: tuple[str, ...] = ()


class ConversationSource(Protocol):
    """Tasks by id; the same in every process."""

    def ids(self, split: Split) -> Sequence[str]:
        """The tasks of a split."""
        ...

    def find(self, task_id: str) -> ConversationTask:
        """The task of an id, or UnknownNameError."""
        ...


class Conversation(TextEnv):
    """Serve a user whom a language model or a script plays.

    A reply with tool calls gets their results; any other reply goes to the user, who answers, perhaps
    after using tools of his own, or ends the conversation. The reward comes at the end; its parts are in
    `info["rewards"]`. A user who fails, or whom the verifier finds to blame, ends the episode with status
    `simulator_error`.

    Args:
        source: where tasks come from.
        user: plays the user; an agent stands for `LLMUser(agent)`. None where tasks have a script.
        verifier: asked at the end who is to blame for a conversation without reward.
        max_turns: turns until an unfinished conversation is truncated.
    """

    shared: ClassVar[frozenset[str]] = frozenset({"source", "user", "verifier", "tools"})

    def __init__(
        self,
        source: ConversationSource,
        *,
        user: LLMUser | Agent | None = None,
        verifier: MessageVerifier | None = None,
        max_turns: int | None = 60,
    ) -> None:
        self.source = source
        self.user = user if user is None or isinstance(user, LLMUser) else LLMUser(user)
        self.verifier = verifier
        super().__init__(max_turns=max_turns)

    def tasks(self, split: str = "train") -> Sequence[str]:
        """Stable ids of the tasks of a split."""
        return self.source.ids(as_split(split))

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """The policy, what was said before, and the user's first words.

        Raises:
            ConfigError: an unknown option, a split without tasks, nobody to play the user.
            UnknownNameError: unknown task.
            SimulatorFailure: the user says nothing.
        """
        self._task_id = self._choose(options or {})
        task = self._task
        self._seed = int(self.np_random.integers(2**31))
        self._state = task.state
        self._calls: tuple[SideCall, ...] = ()
        self._replies: tuple[str, ...] = ()
        self._over_next = False
        self._side: tuple[Message, ...] = (*_flipped(task.history), user(GREETING))
        self._log: tuple[Message, ...] = task.history
        self.tools = task.toolbox.schemas
        first = self._user_speaks()
        if not first.text:
            raise SimulatorFailure("the simulated user ends the conversation before it begins")
        new = (system(task.policy), *task.history, user(first.text))
        self._log = new
        info = {"task_id": self._task_id, "split": task.split, "exchange": 0}
        self._exchange = 0
        return new, {**info, "anchor": self._anchor()}

    def step(self, action: Message) -> StepResult:
        """The results of the calls, or what the user says to the reply."""
        self._log = (*self._log, action)
        if action.tool_calls:
            new, made = [], []
            for each in action.tool_calls:
                self._state, result = self._task.toolbox.call(self._state, each)
                self._calls = (*self._calls, SideCall(side="assistant", call=each))
                made.append(call_record(each, result))
                new.append(tool(result.content, each.id, each.name[:100]))
            return self._finish_turn(tuple(new), calls=tuple(made))
        if not action.content.strip():
            return self._finish_turn((user("Are you there?"),), bad="empty reply")
        self._replies = (*self._replies, action.content)
        self._side = (*self._side, user(action.content))
        if self._over_next:
            return self._end(action.content)
        turn = self._user_speaks()
        if turn.ending is not None:
            return self._end(action.content)
        self._over_next = turn.last_word
        self._exchange += 1
        return self._finish_turn((user(turn.text),), reply=action.content)

    @property
    def privileged(self) -> Privileged:
        """What must be told, and the user's instructions; nothing before the first reset."""
        if not hasattr(self, "_task_id"):
            return Privileged()
        return Privileged(references=self._task.references, notes=self._task.scenario)

    @property
    def _task(self) -> ConversationTask:
        return self.source.find(self._task_id)

    def _choose(self, options: Mapping[str, Any]) -> str:
        for name in options:
            if name not in ("split", "task_id"):
                hint = closest(name, ("split", "task_id"))
                raise ConfigError(f"unknown reset option {name!r}.{hint} Known: split, task_id.")
        if options.get("task_id") is not None:
            return self.source.find(str(options["task_id"])).task_id
        split = as_split(options.get("split") or "train")
        known = self.source.ids(split)
        if not known:
            raise ConfigError(f"there is no task in split {split!r}")
        return str(known[int(self.np_random.integers(len(known)))])

    def _user_speaks(self) -> UserTurn:
        """What the user says, after what he does with his own tools."""
        task = self._task
        if task.script:
            said = len(self._replies)
            over = said == len(task.script)
            return UserTurn(ending="stop") if over else UserTurn(text=task.script[said])
        if self.user is None:
            raise ConfigError(f"task {task.task_id!r} has no script: give Conversation a user")
        for _ in range(MAX_USER_CALLS):
            turn = self.user.turn(task.scenario, self._side, task.user_toolbox, seed=self._seed)
            if not turn.calls:
                self._side = (*self._side, assistant(turn.text))
                return turn
            self._side = (*self._side, assistant("", turn.calls))
            for each in turn.calls:
                self._state, result = task.user_toolbox.call(self._state, each)
                self._calls = (*self._calls, SideCall(side="user", call=each))
                self._side = (*self._side, tool(result.content, each.id, each.name[:100]))
        raise SimulatorFailure(f"the simulated user made {MAX_USER_CALLS} calls without a word")

    def _end(self, reply: str) -> StepResult:
        task = self._task
        ending = Ending(calls=self._calls, replies=self._replies, messages=self._log)
        reward, parts = task.score(ending)
        if reward is None:
            raise JudgeFailure(f"the reward of {task.task_id} needs a judge, and there is none")
        if reward < 1.0 and self.verifier is not None:
            blame = self.verifier.blame(self._log, scenario=task.scenario, policy=task.policy)
            blame.raise_if_masked()
        new, _, _, _, info = self._finish_turn((), reply=reply)
        info |= {"outcome": reward, "success": reward == 1.0, "rewards": dict(parts)}
        return new, reward, True, False, info

    def _finish_turn(
        self,
        new: Observation,
        *,
        calls: tuple[CallMade, ...] = (),
        reply: str = "",
        bad: str = "",
    ) -> StepResult:
        self._log = (*self._log, *new)
        failed = next((each.name for each in calls if not each.ok), "")
        bad = bad or (failed and f"{failed} failed")
        info: dict[str, Any] = {
            "calls": [dataclasses.asdict(each) for each in calls],
            "reply": reply,
            "changes": [
                dataclasses.asdict(each) for each in changes(self._task.state, self._state)
            ],
            "state_hash": state_hash(self._state),
            "status": TurnStatus.INVALID_ACTION if bad else TurnStatus.OK,
            "feedback": bad,
            "exchange": self._exchange,
            "anchor": self._anchor(),
        }
        return new, 0.0, False, False, info

    def _anchor(self) -> str:
        return digest((self._task_id, self._replies, [c.call.name for c in self._calls]))


def _flipped(history: Sequence[Message]) -> tuple[Message, ...]:
    """The words of a conversation from the user's side."""
    roles = {"user": "assistant", "assistant": "user"}
    return tuple(
        assistant(each.content) if roles[each.role] == "assistant" else user(each.content)
        for each in history
        if each.role in roles and each.content
    )
