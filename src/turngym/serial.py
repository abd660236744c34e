"""Trajectories as JSON: one line each, format-versioned, exact.

float32 log-probabilities are written with nine digits, which restores them bit by bit.
"""

import json
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import IO, Any, Self

from turngym.errors import DataError
from turngym.types import (
    FORMAT_VERSION,
    Completion,
    EpisodeStatus,
    Message,
    Privileged,
    ToolCall,
    Trajectory,
    Turn,
    TurnStatus,
)

__all__ = [
    "TrajectoryWriter",
    "completion_from",
    "completion_to",
    "dumps",
    "loads",
    "message_from",
    "message_to",
    "read_jsonl",
]


def dumps(trajectory: Trajectory) -> str:
    """One line of JSON without the newline.

    Raises:
        DataError: the environment's info or a reward is not JSON-safe, or not finite.
    """
    data = {item.name: getattr(trajectory, item.name) for item in fields(trajectory)}
    data["turns"] = [_turn_to(turn) for turn in trajectory.turns]
    data["closing"] = [message_to(message) for message in trajectory.closing]
    data["privileged"] = {
        f.name: getattr(trajectory.privileged, f.name) for f in fields(Privileged)
    }
    try:
        return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"episode {trajectory.episode} of {trajectory.env_id} cannot be written as JSON: "
            f"{error}. Put only plain, finite data into info and rewards."
        ) from error


def loads(line: str) -> Trajectory:
    """The trajectory behind one line of JSON.

    Raises:
        DataError: not JSON, not a trajectory, or written by a newer turngym.
    """
    try:
        data = json.loads(line)
        version = data["format_version"]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"not a trajectory line: {line[:60]!r}... ({error!r})") from error
    if version not in _READERS:
        raise DataError(
            f"trajectory format {version} is not readable by this turngym (it knows "
            f"{', '.join(map(str, _READERS))}): install a newer one"
        )
    try:
        return _READERS[version](data)
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(f"malformed trajectory {data.get('episode')!r}: {error!r}") from error


def read_jsonl(path: str | Path) -> Iterator[Trajectory]:
    """The trajectories of a file, in order; a half-written last line is left out.

    Raises:
        DataError: no such file, or a malformed line before the last; names file and line.
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"cannot read trajectories from {path}: {error.strerror}") from error
    # Text after the last newline is a line that was being written when the run was killed.
    for number, line in enumerate(lines[:-1], start=1):
        try:
            yield loads(line.decode())
        except (DataError, UnicodeDecodeError) as error:
            raise DataError(f"{path}, line {number}: {error}") from error


class TrajectoryWriter:
    """Appends finished trajectories to a file, each flushed at once."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = self._path.open("a", encoding="utf-8")

    def write(self, trajectory: Trajectory) -> None:
        """Append one line."""
        self._file.write(dumps(trajectory) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def message_to(message: Message) -> dict[str, Any]:
    """The message as plain data, absent fields left out."""
    data: dict[str, Any] = {"role": message.role, "content": message.content}
    for name in ("reasoning", "tool_call_id", "name"):
        if getattr(message, name) is not None:
            data[name] = getattr(message, name)
    if message.tool_calls:
        data["tool_calls"] = [
            {"id": call.id, "name": call.name, "arguments": dict(call.arguments)}
            for call in message.tool_calls
        ]
    return data


def message_from(data: Mapping[str, Any]) -> Message:
    """The inverse of `message_to`."""
    calls = tuple(ToolCall(**call) for call in data.get("tool_calls", ()))
    return Message(**{**data, "tool_calls": calls})


def completion_to(completion: Completion) -> dict[str, Any]:
    """The completion as plain data."""
    return {
        **{item.name: getattr(completion, item.name) for item in fields(completion)},
        "message": message_to(completion.message),
        "new_prompt_ids": completion.new_prompt_ids.tolist(),
        "reply_ids": completion.reply_ids.tolist(),
        "reply_logprobs": [float(f"{value:.9g}") for value in completion.reply_logprobs],
    }


def completion_from(data: Mapping[str, Any]) -> Completion:
    """The inverse of `completion_to`."""
    return Completion(
        **{
            **data,
            "message": message_from(data["message"]),
            "new_prompt_ids": array("i", data["new_prompt_ids"]),
            "reply_ids": array("i", data["reply_ids"]),
            "reply_logprobs": array("f", data["reply_logprobs"]),
        }
    )


def _turn_to(turn: Turn) -> dict[str, Any]:
    data = {item.name: getattr(turn, item.name) for item in fields(turn)}
    data["seen"] = [message_to(message) for message in turn.seen]
    data["completion"] = completion_to(turn.completion)
    return data


def _turn_from(data: Mapping[str, Any]) -> Turn:
    return Turn(
        **{
            **data,
            "seen": tuple(message_from(message) for message in data["seen"]),
            "completion": completion_from(data["completion"]),
            "status": TurnStatus(data["status"]),
            "drops": tuple(data.get("drops", ())),  # files of before it have none
        }
    )


def _read_version_1(data: Mapping[str, Any]) -> Trajectory:
    secret = data["privileged"]
    return Trajectory(
        **{
            **data,
            "turns": tuple(_turn_from(turn) for turn in data["turns"]),
            "closing": tuple(message_from(message) for message in data["closing"]),
            "tools": tuple(data["tools"]),
            "status": EpisodeStatus(data["status"]),
            "privileged": Privileged(
                **{
                    **secret,
                    "references": tuple(secret["references"]),
                    "exchange_references": tuple(
                        None if answers is None else tuple(answers)
                        for answers in secret.get("exchange_references", ())
                    ),
                    "gold_actions": tuple(secret["gold_actions"]),
                }
            ),
        }
    )


_READERS: dict[int, Callable[[Mapping[str, Any]], Trajectory]] = {1: _read_version_1}
assert FORMAT_VERSION in _READERS
