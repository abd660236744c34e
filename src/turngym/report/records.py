"""One trajectory as the report shows it: a card for the list, a record for the page.

Both become JSON as they stand; field names are what the page's scripts read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from turngym.serial import message_to
from turngym.trainers.ledger import Credited
from turngym.triage import triage
from turngym.triage.texts import shorten
from turngym.types import Message, Trajectory, Turn

__all__ = ["Card", "Credits", "Kept", "Record", "TurnRecord", "card", "record"]

MAX_TEXT = 20_000
"""Longer messages keep their beginning and their end."""

Credits = Mapping[str, Sequence[float]]
"""Credit of each turn of one trajectory, by method."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a run's folder says about one trajectory."""

    credits: Credits
    row: Credited | None = None
    """By the run's own method."""
    detail: Mapping[str, Any] | None = None
    """Token by token (`trainers.details`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One row of the list."""

    episode: str
    task: str
    group: str
    status: str
    outcome: float | None
    success: bool | None
    turns: int
    tokens: int
    quality: int
    signals: tuple[str, ...]
    """Kinds, each once."""
    telling: float
    """How much there is to see: credit, signals, foreign failures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRecord:
    """One turn; absent parts are left out of the JSON."""

    seen: tuple[Mapping[str, Any], ...]
    reply: Mapping[str, Any]
    reward: float | None
    rewards: Mapping[str, float]
    status: str
    feedback: str
    exchange: int
    finish: str
    length: int
    """Sampled tokens."""
    temperature: float
    version: int
    """Of the policy."""
    drops: tuple[int, ...]
    """Numbers of turns whose texts later prompts show empty."""
    opens: bool
    """Opens a segment: the prompt did not extend the tokens before."""
    detail: Mapping[str, Any] | None
    """Clip range, ratio, weight, mask and entropy, if the run kept them."""
    token_credit: tuple[float | None, ...] | None
    """By the run's own method, where it credits tokens."""
    pieces: tuple[str, ...] | None
    """The reply's tokens as text."""
    logprobs: tuple[float | None, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Everything about one trajectory."""

    env: str
    seed: str
    turns: tuple[TurnRecord, ...]
    closing: tuple[Mapping[str, Any], ...]
    rewards: Mapping[str, float]
    error: str
    seconds: float
    tools: tuple[str, ...]
    signals: tuple[tuple[int, str, str], ...]
    """(turn, kind, the words that gave it away)."""
    grade: str
    credits: Mapping[str, tuple[float | None, ...]]
    columns: Mapping[str, tuple[float | None, ...]]
    """What signals told the credit method, by turn."""
    method: str
    """That the run was trained with; empty where it was not."""


def card(trajectory: Trajectory, credits: Credits) -> Card:
    """The row of a trajectory."""
    found = triage(trajectory)
    kinds = tuple(sorted({signal.kind for signal in found.signals}))
    largest = max((abs(value) for values in credits.values() for value in values), default=0.0)
    foreign = 0.0 if trajectory.status.counts else 2.0
    return Card(
        episode=trajectory.episode,
        task=trajectory.task_id,
        group=trajectory.group,
        status=trajectory.status.value,
        outcome=_short(trajectory.outcome),
        success=trajectory.success,
        turns=len(trajectory.turns),
        tokens=trajectory.num_reply_tokens,
        quality=found.score,
        signals=kinds,
        telling=round(min(largest, 5.0) + 0.5 * len(kinds) + foreign, 3),
    )


def record(trajectory: Trajectory, kept: Kept, piece: Callable[[int], str] | None) -> Record:
    """The page of a trajectory.

    Args:
        trajectory: as stored.
        kept: its credit.
        piece: text of a token id; None leaves the tokens out.
    """
    found, row = triage(trajectory), kept.row
    count = len(trajectory.turns)
    details = kept.detail["turns"] if kept.detail else [None] * count
    tokens = row.token if row and row.token else [None] * count
    return Record(
        env=trajectory.env_id,
        seed=str(trajectory.seed),
        turns=tuple(
            _turn(turn, detail, _numbers(own), piece)
            for turn, detail, own in zip(trajectory.turns, details, tokens, strict=True)
        ),
        closing=tuple(_message(message) for message in trajectory.closing),
        rewards=dict(trajectory.rewards),
        error=shorten(trajectory.error, MAX_TEXT),
        seconds=round(trajectory.seconds, 3),
        tools=tuple(str(tool.get("function", tool).get("name", "")) for tool in trajectory.tools),
        signals=tuple((signal.turn, signal.kind, signal.note) for signal in found.signals),
        grade=found.grade,
        credits={name: _numbers(values) or () for name, values in kept.credits.items()},
        columns={n: _numbers(values) or () for n, values in row.turn_columns.items()}
        if row
        else {},
        method=row.method if row else "",
    )


def _turn(
    turn: Turn,
    detail: Mapping[str, Any] | None,
    credit: tuple[float | None, ...] | None,
    piece: Callable[[int], str] | None,
) -> TurnRecord:
    completion = turn.completion
    pieces = None
    if piece is not None and completion.trainable:
        pieces = tuple(piece(token) for token in completion.reply_ids)
    return TurnRecord(
        seen=tuple(_message(message) for message in turn.seen),
        reply=_message(completion.message),
        reward=_short(turn.reward),
        rewards=dict(turn.rewards),
        status=turn.status.value,
        feedback=turn.feedback,
        exchange=turn.exchange,
        finish=completion.finish_reason,
        length=len(completion.reply_ids),
        temperature=completion.temperature,
        version=completion.policy_version,
        drops=turn.drops,
        opens=completion.opens_segment,
        detail=detail if pieces or not detail else {n: detail[n] for n in ("low", "high")},
        token_credit=credit if pieces else None,
        pieces=pieces,
        logprobs=_numbers(completion.reply_logprobs) if pieces else None,
    )


def _message(message: Message) -> Mapping[str, Any]:
    return {**message_to(message), "content": _cut(message.content)}


def _cut(text: str) -> str:
    if len(text) <= MAX_TEXT:
        return text
    head = MAX_TEXT // 5
    left_out = len(text) - MAX_TEXT
    return f"{text[:head]}\n[... {left_out} characters left out ...]\n{text[head - MAX_TEXT :]}"


def _short(value: float | None) -> float | None:
    """Five digits; None for what JSON cannot say."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.5g}")


def _numbers(values: Iterable[float] | None) -> tuple[float | None, ...] | None:
    return None if values is None else tuple(_short(value) for value in values)
