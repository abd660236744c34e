"""NeMo Gym's `conversational_tool_use_simulation` rows: policy, tools and customer, everything simulated."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from turngym.envs.tool_use.blame import MessageVerdict, MessageVerifier, Party
from turngym.envs.tool_use.conversation import ConversationTask, Ending
from turngym.envs.tool_use.simulated import SimulatedTools
from turngym.envs.tool_use.tasks import Split, split_of
from turngym.errors import DataError, UnknownNameError
from turngym.types import Agent

__all__ = ["NemoTasks", "RecordedVerdicts", "load_verdicts"]

_PARTIES: dict[str, Party] = {"user": "user", "environment": "tool", "agent": "agent"}
_SCENARIO = ("customer_persona", "reason_for_contact", "customer_details", "unknown_info")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedVerdicts:
    """What a recorded rollout says of its messages, and what came of it."""

    verdicts: tuple[MessageVerdict, ...]
    """Those that were asked for: after a bad message nothing more is."""
    conversation: bool
    label: str
    """Recorded: `user_failure`, `tool_failure`, `agent_failure` or ''."""
    masked: bool
    reward: float


class NemoTasks:
    """The rows of a file as conversations, with tools that an agent simulates.

    The reward is 1 when the verifier finds no fault, 0 when the agent is to blame; a conversation that
    somebody else spoilt is masked.

    Args:
        path: JSON lines.
        simulator: plays the tools.
        verifier: judges the messages.

    Raises:
        DataError: a line cannot be read; names file and line.
    """

    def __init__(self, path: Path | str, *, simulator: Agent, verifier: MessageVerifier) -> None:
        self._found: dict[str, ConversationTask] = {}
        self._verifier = verifier
        for where, row in _rows(Path(path)):
            try:
                task = self._task(row, simulator)
            except (KeyError, TypeError, AttributeError) as error:
                raise DataError(f"{where}: {type(error).__name__}: {error}") from error
            self._found[task.task_id] = task

    def ids(self, split: Split) -> Sequence[str]:
        """The rows of a split, which follows from the id."""
        return tuple(key for key, task in self._found.items() if task.split == split)

    def find(self, task_id: str) -> ConversationTask:
        """The task of an id.

        Raises:
            UnknownNameError: there is none.
        """
        if task_id not in self._found:
            raise UnknownNameError("task", task_id, list(self._found)[:20])
        return self._found[task_id]

    def _task(self, row: Mapping[str, Any], simulator: Agent) -> ConversationTask:
        customer, key = row["customer_scenario"], str(row["id"])
        told = [
            f"{name.replace('_', ' ')}: {customer[name]}" for name in _SCENARIO if customer[name]
        ]
        scenario = "\n".join([*told, str(customer.get("task_instructions") or "")])
        return ConversationTask(
            task_id=key,
            split=split_of(key),
            policy=row["policy"],
            scenario=scenario,
            state={},
            toolbox=SimulatedTools(row["tools"], agent=simulator),
            score=partial(self._score, scenario, row["policy"]),
        )

    def _score(
        self, scenario: str, policy: str, ending: Ending
    ) -> tuple[float | None, Mapping[str, float]]:
        blame = self._verifier.blame(ending.messages, scenario=scenario, policy=policy)
        blame.raise_if_masked()
        value = float(blame.culprit is None)
        return value, {"no_fault": value}


def load_verdicts(path: Path) -> tuple[RecordedVerdicts, ...]:
    """The message verdicts of recorded rollouts.

    Raises:
        DataError: a line cannot be read; names file and line.
    """
    found = []
    for where, row in _rows(path):
        try:
            judged = row["judge_diagnostics"]
            whole = judged["conversation_verification_result"]
            found.append(
                RecordedVerdicts(
                    verdicts=tuple(
                        MessageVerdict(
                            party=_PARTIES[each["source"]],
                            valid=None if each["reward"] is None else bool(each["reward"]),
                            reason=each["explanation"] or "",
                        )
                        for each in judged["message_verification_results"]
                        if each["reward"] is not None or each["generation_error"]
                    ),
                    conversation=whole is None or bool(whole["reward"]),
                    label=next(iter(row["failure_labels"]), ""),
                    masked=row["instance_config"]["mask_sample"],
                    reward=float(row["reward"]),
                )
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{where}: {type(error).__name__}: {error}") from error
    return tuple(found)


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            where = f"{path}, line {number}"
            try:
                yield where, json.loads(line)
            except ValueError as error:
                raise DataError(f"{where} is no JSON: {error}") from error
