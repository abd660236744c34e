"""Signals of execution and environment: failure, loops, exhaustion."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from turngym.triage.signal import Signal
from turngym.triage.texts import clean
from turngym.triage.words import SAID_BY_ENVIRONMENT, find
from turngym.types import EpisodeStatus, Message, Trajectory, TurnStatus

__all__ = ["Action", "actions", "call_signals"]

RETRIES = 3
DRIFTS = 3
CYCLES = 3
PATTERN_LENGTHS = (2, 3, 4, 5)

KIND_OF_ENDING = {
    EpisodeStatus.AGENT_TIMEOUT: "timeout",
    EpisodeStatus.INFRA_TIMEOUT: "timeout",
    EpisodeStatus.INFRA_ERROR: "api_error",
    EpisodeStatus.SIMULATOR_ERROR: "api_error",
    EpisodeStatus.JUDGE_ERROR: "api_error",
    EpisodeStatus.ENV_ERROR: "api_error",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing the agent did: a tool call, or its whole reply where it calls none."""

    turn: int
    name: str
    """Of the tool; empty for a reply in plain text."""
    arguments: str
    """Canonical JSON, or the cleaned reply."""
    answer: str
    """What came back, cleaned."""


def call_signals(trajectory: Trajectory) -> tuple[Signal, ...]:
    """Failures, loops and exhaustion, in order of turns.

    A turn gives at most one failure or exhaustion for each answer it got. Retry: three or more equal
    actions in a row. Parameter drift: three or more calls of one tool in a row with at least two
    sets of arguments, each answered by an error or by the same as the next one. Oscillation: a pattern of
    two to five different actions three times in a row.
    """
    done = actions(trajectory)
    found = [*_answers(trajectory), *_ending(trajectory), *_loops(done)]
    return tuple(sorted(found, key=lambda signal: signal.turn))


def actions(trajectory: Trajectory) -> list[Action]:
    """Everything the agent did, in order."""
    found = []
    for index, turn in enumerate(trajectory.turns):
        message, after = turn.completion.message, _after(trajectory, index)
        if not message.tool_calls:
            answer = clean(" ".join(m.content for m in after))
            text = clean(message.content)
            found.append(Action(turn=index, name="", arguments=text, answer=answer))
        for call in message.tool_calls:
            answer = clean(" ".join(m.content for m in after if m.tool_call_id == call.id))
            given = json.dumps(dict(call.arguments), sort_keys=True, default=str)
            found.append(Action(turn=index, name=call.name, arguments=given, answer=answer))
    return found


def _after(trajectory: Trajectory, index: int) -> Sequence[Message]:
    last = index + 1 == len(trajectory.turns)
    return trajectory.closing if last else trajectory.turns[index + 1].seen


def _answers(trajectory: Trajectory) -> Iterator[Signal]:
    for index, turn in enumerate(trajectory.turns):
        refused = turn.status is TurnStatus.INVALID_ACTION
        told = [
            hit
            for message in _after(trajectory, index)
            if message.role == "tool" or refused
            if (hit := find(SAID_BY_ENVIRONMENT, clean(message.content)))
        ]
        if refused and not told:
            told = [("invalid_args", turn.feedback or "refused by the environment")]
        yield from (Signal(kind=kind, turn=index, note=note[:80]) for kind, note in told)
        if turn.completion.finish_reason == "length":
            note = f"cut after {len(turn.completion.reply_ids)} tokens"
            yield Signal(kind="context_overflow", turn=index, note=note)


def _ending(trajectory: Trajectory) -> Iterator[Signal]:
    last = max(len(trajectory.turns) - 1, 0)
    if kind := KIND_OF_ENDING.get(trajectory.status):
        yield Signal(kind=kind, turn=last, note=f"ended as {trajectory.status}")
    elif "ContextOverflow" in trajectory.error:
        yield Signal(kind="context_overflow", turn=last, note="the conversation outgrew the model")


def _loops(done: Sequence[Action]) -> Iterator[Signal]:
    for run in _runs(done, lambda a, b: (a.name, a.arguments) == (b.name, b.arguments)):
        if len(run) >= RETRIES:
            note = f"{len(run)} times {run[0].name or run[0].arguments}"[:80]
            yield Signal(kind="retry", turn=run[-1].turn, note=note)
    for run in _runs(done, lambda a, b: bool(a.name) and a.name == b.name):
        stuck = all(_fruitless(a, b) for a, b in zip(run, run[1:], strict=False))
        if len(run) >= DRIFTS and stuck and len({a.arguments for a in run}) >= 2:
            note = f"{len(run)} times {run[0].name} with other arguments"
            yield Signal(kind="parameter_drift", turn=run[-1].turn, note=note)
    yield from _oscillations(done)


def _fruitless(action: Action, following: Action) -> bool:
    return action.answer == following.answer or find(SAID_BY_ENVIRONMENT, action.answer) is not None


def _runs(done: Sequence[Action], same: Callable[[Action, Action], bool]) -> Iterator[list[Action]]:
    run: list[Action] = []
    for action in done:
        if run and not same(run[-1], action):
            yield run
            run = []
        run.append(action)
    if run:
        yield run


def _oscillations(done: Sequence[Action]) -> Iterator[Signal]:
    keys = [(action.name, action.arguments) for action in done]
    start = 0
    while start < len(keys):
        for length in PATTERN_LENGTHS:
            pattern = keys[start : start + length]
            cycles = 1
            while keys[start + cycles * length : start + (cycles + 1) * length] == pattern:
                cycles += 1
            if len(pattern) == length and cycles >= CYCLES and len(set(pattern)) > 1:
                end = start + cycles * length
                note = f"{cycles} times the same {length} actions"
                yield Signal(kind="oscillation", turn=done[end - 1].turn, note=note)
                start = end - 1
                break
        start += 1
