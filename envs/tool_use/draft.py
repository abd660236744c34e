"""Drafts of checklists: a language model reads a reference dialogue and writes CM2's items.

A draft is checked like any checklist, and the faults go back to the model. What is checked cannot show whether
the questions are good ones: read a draft before you train on it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from turngym.bridge import call as ask
from turngym.envs.tool_use.dialogues import cm2_checklist
from turngym.errors import DataError, NotTheAgentsFault, SimulatorFailure
from turngym.rewards.judged import transcript
from turngym.rewards.tool_checklist import DialogueChecklist
from turngym.seeding import derive
from turngym.types import Agent, Context, Message, Sampling, assistant, system, user

__all__ = ["draft_checklist"]

_RULES = """You write checklists for conversations between a user and an agent with tools. For every user
message of the reference, write 1 to 5 yes-or-no items that a good agent satisfies before the next user message.
Reply with one JSON list and nothing else: per user message a list of items, each with the keys
- id: unique among the items of its list
- evidence: a list of {"turn", "step", "from", "snippet"}, where in the reference the item comes from
- focus_on: a list of channels that a judge must look at: "user.content", "assistant.content.thinking",
  "assistant.content.user_visible_reply", "assistant.tool_calls", "tool.content"
- question, pass_condition: texts; failure_examples: a list of texts
- required_for_next_turn: false if the conversation can go on without it
- dependence: ids of items about tools that must be satisfied in an earlier step
- weight: the weights of a list sum to 1"""


def draft_checklist(
    messages: Sequence[Message],
    tools: Sequence[dict[str, Any]],
    writer: Agent,
    *,
    attempts: int = 3,
    timeout_s: float = 120.0,
    seed: int = 0,
) -> DialogueChecklist:
    """A checklist of the reference dialogue, one list of items per user message.

    Args:
        messages: the reference dialogue.
        tools: its schemas.
        writer: the model.
        attempts: drafts asked for; each but the first is told what was wrong with the one before.
        timeout_s: seconds for a draft.
        seed: keys the noise.

    Raises:
        DataError: the dialogue has no user message.
        SimulatorFailure: no draft passes the checks.
    """
    wanted = sum(message.role == "user" for message in messages)
    if not wanted:
        raise DataError("a reference dialogue needs a user message")
    text = f"Tools:\n{json.dumps(list(tools))}\n\nReference:\n{transcript(messages)}"
    new: tuple[Message, ...] = (system(_RULES), user(text))
    fault = ""
    for attempt in range(attempts):
        context, reply = Context(episode=f"draft/{derive(text)}/{attempt}", new=new), ""
        try:
            reply = ask(
                writer,
                context,
                sampling=Sampling(temperature=0.0 if attempt == 0 else 0.7, max_new_tokens=8192),
                seed=derive(seed, attempt),
                timeout_s=timeout_s,
            ).message.content
        except NotTheAgentsFault as error:
            fault = str(error)
            continue
        try:
            return _read(reply, wanted)
        except DataError as error:
            fault = str(error)
            new = (*new, assistant(reply), user(f"That cannot be used: {fault[:2000]}"))
    raise SimulatorFailure(f"no draft passes the checks in {attempts} attempts; the last: {fault}")


def _read(reply: str, wanted: int) -> DialogueChecklist:
    try:
        rows = json.loads(reply[reply.find("[") : reply.rfind("]") + 1])
    except (ValueError, RecursionError) as error:
        raise DataError(f"this is no JSON list: {error}") from error
    checklist = cm2_checklist(rows)
    if len(checklist) != wanted:
        raise DataError(f"{len(checklist)} lists of items for {wanted} user messages")
    return checklist
