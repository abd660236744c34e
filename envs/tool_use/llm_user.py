"""A user played by a language model, with tools of his own where the domain gives him some.

Simulated users often say goodbye together with their last consent, before the agent has acted on it
(tau2-bench PR#297). So a goodbye that answers a question waits: the words are passed on, and the conversation
ends with the agent's next reply.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from turngym.envs.tool_use.tools import ToolBox
from turngym.errors import SimulatorFailure
from turngym.rewards.asking import UnreadableError, ask
from turngym.types import Agent, Message, Sampling, ToolCall, system

__all__ = ["LLMUser", "UserTurn", "read_turn", "settle"]

Ending = Literal["stop", "transfer", "out_of_scope"]
_TOKENS: dict[str, Ending] = {
    "###STOP###": "stop",
    "###TRANSFER###": "transfer",
    "###OUT-OF-SCOPE###": "out_of_scope",
}
_TOKEN = re.compile("|".join(map(re.escape, _TOKENS)))
_RULES = """You play a user who talks to an agent. Stay in this role; you never play the agent.
- Say one thing at a time, in your own words. Tell what you know only when it is needed.
- Make nothing up: what your instructions and your tools do not say, you do not know.
- When your goal is reached and the agent has nothing left to do, reply with ###STOP### alone.
- When you are handed to a person, reply with ###TRANSFER### alone.
- When your instructions do not say how to go on, reply with ###OUT-OF-SCOPE### alone.

Your instructions:
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserTurn:
    """What the user says or does."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    ending: Ending | None = None
    """He ends the conversation now."""
    last_word: bool = False
    """He ends it with the agent's next reply."""


class LLMUser:
    """Asks an agent to play the user.

    Args:
        agent: plays him.
        attempts: replies asked for until one says or does something.
        timeout_s: seconds for a reply.
        temperature: of its sampling.
    """

    def __init__(
        self,
        agent: Agent,
        *,
        attempts: int = 3,
        timeout_s: float = 60.0,
        temperature: float = 0.0,
    ) -> None:
        self.agent = agent
        self.attempts = attempts
        self.timeout_s = timeout_s
        self.temperature = temperature

    def turn(
        self, scenario: str, seen: Sequence[Message], tools: ToolBox, *, seed: int = 0
    ) -> UserTurn:
        """What the user does next.

        Args:
            scenario: his instructions.
            seen: the conversation from his side: his words have role `assistant`, the agent's `user`.
            tools: his own.
            seed: keys the noise.

        Raises:
            SimulatorFailure: no usable reply.
        """
        try:
            turn = ask(
                self.agent,
                (system(_RULES + scenario), *seen),
                _usable_turn,
                attempts=self.attempts,
                timeout_s=self.timeout_s,
                sampling=Sampling(temperature=self.temperature),
                tools=tools.schemas,
                seed=seed,
            )
        except UnreadableError as error:
            raise SimulatorFailure(f"the simulated user said nothing {error}") from error
        return settle(turn, seen[-1].content if seen else "")


def _usable_turn(message: Message) -> UserTurn | None:
    turn = read_turn(message)
    return turn if turn.text or turn.calls or turn.ending else None


def read_turn(message: Message) -> UserTurn:
    """A reply of the one who plays the user, its ending tokens taken out."""
    if message.tool_calls:
        return UserTurn(calls=message.tool_calls)
    found = _TOKEN.search(message.content)
    text = _TOKEN.sub("", message.content).strip()
    return UserTurn(text=text, ending=_TOKENS[found[0]] if found else None)


def settle(turn: UserTurn, agent_said: str) -> UserTurn:
    """The turn under the rule that he waits for completion.

    A `stop` with words, in answer to a question of the agent, becomes his last word.
    """
    if turn.ending == "stop" and turn.text and "?" in agent_said:
        return replace(turn, ending=None, last_word=True)
    return turn
