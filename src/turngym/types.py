"""The nouns: what passes between environments, agents, rewards and trainers. Standard library only.

A **turn** is one sampled completion. An **exchange** is everything the agent does for one user
message: one or more turns. Both are numbered from 0. Token ids are the ids the engine sampled;
nothing here is ever re-tokenised.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal, Protocol

__all__ = [
    "FORMAT_VERSION",
    "Agent",
    "Completion",
    "Context",
    "EpisodeStatus",
    "FinishReason",
    "Message",
    "Privileged",
    "Role",
    "Sampling",
    "ToolCall",
    "Trajectory",
    "Turn",
    "TurnStatus",
    "assistant",
    "system",
    "tool",
    "user",
]

FORMAT_VERSION = 1

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "timeout"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One call the agent makes. `arguments` is a dict here, a JSON string only on the OpenAI wire.

    Example:
        >>> ToolCall(id="1", name="search", arguments={"query": "red shoes"})
    """

    id: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One chat message in the OpenAI / Hugging Face shape.

    Example:
        >>> Message(role="user", content="I need red shoes.")
    """

    role: Role
    content: str = ""
    reasoning: str | None = None
    """The thinking part, kept apart from the words that others see."""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    """For role `tool`: the call that this message answers."""
    name: str | None = None


class TurnStatus(StrEnum):
    """How one turn went."""

    OK = "ok"
    INVALID_ACTION = "invalid_action"
    REWARD_MISSING = "reward_missing"
    """A judge failed on this turn: its reward_mask is cleared, the turn still trains."""


class EpisodeStatus(StrEnum):
    """How an episode ended. Only the first three are the agent's doing."""

    TERMINATED = "terminated"
    TRUNCATED = "truncated"
    AGENT_TIMEOUT = "agent_timeout"
    ENV_ERROR = "env_error"
    JUDGE_ERROR = "judge_error"
    SIMULATOR_ERROR = "simulator_error"
    INFRA_ERROR = "infra_error"
    INFRA_TIMEOUT = "infra_timeout"
    CANCELLED = "cancelled"

    @property
    def counts(self) -> bool:
        """Whether the episode enters loss, baselines and success rates."""
        return self in (
            EpisodeStatus.TERMINATED,
            EpisodeStatus.TRUNCATED,
            EpisodeStatus.AGENT_TIMEOUT,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How an agent draws its reply."""

    temperature: float = 1.0
    """0 is greedy."""
    max_new_tokens: int = 512
    top_p: float = 1.0
    top_k: int = 0
    """0 keeps every token."""
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One sampled reply with the ids that were really sampled.

    Storage is linear in tokens: a prompt is kept only as far as it is new. The full prompt of a
    turn is the concatenation of everything since the last turn with `opens_segment`.
    """

    message: Message
    new_prompt_ids: array[int] = field(default_factory=lambda: array("i"))
    """int32: prompt tokens since the last sampled token, or the whole prompt if `opens_segment`."""
    reply_ids: array[int] = field(default_factory=lambda: array("i"))
    """int32: the sampled tokens, the end-of-turn token included when it was sampled."""
    reply_logprobs: array[float] = field(default_factory=lambda: array("f"))
    """float32: the engine's log-probability of each reply token at `temperature`."""
    opens_segment: bool = False
    """True for the first turn, and whenever the prompt does not extend the previous tokens."""
    finish_reason: FinishReason = "stop"
    policy_version: int = 0
    temperature: float = 1.0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        for name, code in (("new_prompt_ids", "i"), ("reply_ids", "i"), ("reply_logprobs", "f")):
            value = getattr(self, name)
            if not isinstance(value, array):
                object.__setattr__(self, name, array(code, value))
        if self.reply_logprobs and len(self.reply_logprobs) != len(self.reply_ids):
            raise ValueError(
                "a completion has one log-probability per reply token: "
                f"got {len(self.reply_logprobs)} for {len(self.reply_ids)} tokens"
            )

    @property
    def trainable(self) -> bool:
        """Whether sampled ids came along; a black-box endpoint gives none."""
        return len(self.reply_ids) > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One sampled completion, what came before it and what it earned."""

    seen: tuple[Message, ...]
    """Messages new since the last reply."""
    completion: Completion
    reward: float | None = None
    """The turn reward, never containing the outcome; None when the turn has none."""
    rewards: Mapping[str, float] = field(default_factory=dict)
    """Named parts, for reading."""
    exchange: int = 0
    status: TurnStatus = TurnStatus.OK
    feedback: str = ""
    anchor: str = ""
    """Hash of the observable state in which the turn was sampled (GiGPO)."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """JSON-safe extras of the environment."""
    drops: tuple[int, ...] = ()
    """Numbers of the turns whose `seen` later prompts show empty, by this reply (ReSeek)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Privileged:
    """What judges and signals may read and the policy never sees."""

    references: tuple[str, ...] = ()
    """Ground-truth answers."""
    exchange_references: tuple[tuple[str, ...] | None, ...] = ()
    """Ground-truth answers of each exchange, where user messages ask for different ones; None: it is
    still about the question before. (): `references` hold for the whole episode."""
    gold_actions: tuple[str, ...] = ()
    hidden_state: Mapping[str, Any] = field(default_factory=dict)
    notes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """One episode, complete: one line of JSON (`turngym.serial`)."""

    env_id: str
    task_id: str
    episode: str
    """Unique in its run, such as `3/17/2`: step, group, member."""
    seed: int
    group: str
    """Episodes of one group share task and initial state."""
    turns: tuple[Turn, ...]
    status: EpisodeStatus
    closing: tuple[Message, ...] = ()
    """What the environment said after the last turn."""
    tools: tuple[Mapping[str, Any], ...] = ()
    outcome: float | None = None
    """The task score; None when the episode ended through no fault of the agent."""
    success: bool | None = None
    rewards: Mapping[str, float] = field(default_factory=dict)
    """Named trajectory-level parts, for reading."""
    privileged: Privileged = field(default_factory=Privileged)
    fingerprint: str = ""
    """Of the initial state; equal in a group."""
    error: str = ""
    """Type, message and traceback when the episode broke."""
    seconds: float = 0.0
    format_version: int = FORMAT_VERSION
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def num_reply_tokens(self) -> int:
        """Number of sampled tokens."""
        return sum(len(turn.completion.reply_ids) for turn in self.turns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What an agent gets: the turns so far with their sampled ids, and what is new."""

    episode: str
    tools: tuple[Mapping[str, Any], ...] = ()
    turns: tuple[Turn, ...] = ()
    new: tuple[Message, ...] = ()

    def fork(self, episode: str) -> Context:
        """The same past under another episode key, for a branch that goes its own way."""
        return replace(self, episode=episode)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole conversation, oldest first; what was dropped is empty."""
        gone = {number for turn in self.turns for number in turn.drops}
        past: list[Message] = []
        for number, turn in enumerate(self.turns):
            shown = turn.seen
            if number in gone:
                # Empty, not absent: templates and tool calls want something between two replies.
                shown = tuple(replace(message, content="") for message in shown)
            past.extend(shown)
            past.append(turn.completion.message)
        return (*past, *self.new)


class Agent(Protocol):
    """Anything that answers. No base class and no registration are needed.

    An agent that keeps something per episode (a key-value cache) may also have
    `def release(self, episode: str) -> None`, called when the episode is over.
    """

    async def act(self, context: Context, *, sampling: Sampling, seed: int) -> Completion:
        """The reply to `context.new`; `seed` keys all sampling noise of this turn."""
        ...


def system(content: str) -> Message:
    """A system message."""
    return Message(role="system", content=content)


def user(content: str) -> Message:
    """A user message."""
    return Message(role="user", content=content)


def assistant(content: str, tool_calls: Iterable[ToolCall] = ()) -> Message:
    """An assistant message."""
    return Message(role="assistant", content=content, tool_calls=tuple(tool_calls))


def tool(content: str, tool_call_id: str, name: str | None = None) -> Message:
    """The answer to a tool call."""
    return Message(role="tool", content=content, tool_call_id=tool_call_id, name=name)
