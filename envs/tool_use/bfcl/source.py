"""BFCL's multi-turn entries as conversations with scripted users: `Conversation(BfclTasks(entries))`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from turngym.envs.tool_use.bfcl.backends import check_turns, initial_state, toolbox_of
from turngym.envs.tool_use.conversation import ConversationTask, Ending
from turngym.envs.tool_use.rows import BfclDialogue
from turngym.envs.tool_use.tasks import Split, split_of
from turngym.errors import UnknownNameError
from turngym.types import Message, ToolCall

__all__ = ["BfclTasks", "calls_by_turn"]

_POLICY = (
    "You work for a user with the tools at hand. Do what each message asks for with as many calls as it "
    "takes, then reply in words; the user goes on with the next message."
)


class BfclTasks:
    """The entries by id; a split follows from the id.

    The reward is 1 when every turn passes BFCL's state and response checks. Its parts are the share of
    turns that pass, and of those that pass each check.

    Args:
        entries: as `load_bfcl_dialogues` gives them.
    """

    def __init__(self, entries: Sequence[BfclDialogue]) -> None:
        self._entries = {entry.id: entry for entry in entries}

    def ids(self, split: Split) -> Sequence[str]:
        """The entries of a split."""
        return tuple(key for key in self._entries if split_of(key) == split)

    def find(self, task_id: str) -> ConversationTask:
        """The task of an id.

        Raises:
            UnknownNameError: there is none, or one of its classes has no back-end.
        """
        if task_id not in self._entries:
            raise UnknownNameError("BFCL entry", task_id, list(self._entries)[:20])
        entry = self._entries[task_id]
        return ConversationTask(
            task_id=task_id,
            split=split_of(task_id),
            policy=_POLICY,
            scenario="",
            script=entry.questions,
            state=initial_state(entry),
            toolbox=toolbox_of(entry),
            score=partial(_score, entry),
        )


def calls_by_turn(messages: Sequence[Message]) -> tuple[tuple[ToolCall, ...], ...]:
    """The agent's calls after each message of the user."""
    turns: list[list[ToolCall]] = []
    for message in messages:
        if message.role == "user":
            turns.append([])
        elif turns:
            turns[-1] += message.tool_calls
    return tuple(map(tuple, turns))


def _score(entry: BfclDialogue, ending: Ending) -> tuple[float, Mapping[str, float]]:
    checks = check_turns(entry, calls_by_turn(ending.messages))
    counted = [each for each in checks if not each.skipped]
    parts = {
        "turns": [each.passed for each in counted],
        "state": [each.state_equal for each in counted],
        "results": [each.results_seen for each in counted],
    }
    shares = {name: sum(got) / max(len(counted), 1) for name, got in parts.items()}
    return float(all(parts["turns"])), shares
