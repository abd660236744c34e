"""Record and replay around any agent: the same request gives the same completion, from a file.

One line of JSON per recorded completion, appended in one write; several processes may share a file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from turngym.errors import DataError, InfraFailure
from turngym.serial import completion_from, completion_to, message_to
from turngym.types import Agent, Completion, Context, Sampling

__all__ = ["CacheAgent", "Key", "is_cache"]

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What a request is known by. The episode's name is no part of it."""

    conversation: str
    """Hash of messages, tools and sampled ids so far."""
    draw: str
    """Hash of label, sampling and seed."""

    @classmethod
    def of(cls, context: Context, sampling: Sampling, seed: int, label: str) -> Key:
        """The key of one request."""
        said = [
            [turn.completion.new_prompt_ids.tolist(), turn.completion.reply_ids.tolist()]
            for turn in context.turns
        ]
        messages = [message_to(message) for message in context.messages]
        return cls(
            conversation=_hash([messages, list(context.tools), said]),
            draw=_hash([label, asdict(sampling), seed]),
        )


class CacheAgent:
    """Answers from a file, and asks `agent` for what is not in it.

    Args:
        path: of the cache; made when it is missing.
        agent: asked on a miss, and its completion appended. None: replay only, a miss raises.
        label: names who answers (model, address); completions of another label never match.

    Raises:
        DataError: the file is there and is not such a cache.
    """

    def __init__(self, path: str | Path, agent: Agent | None = None, *, label: str = "") -> None:
        self._path, self._agent, self._label = Path(path), agent, label
        self._lock = threading.Lock()
        self._known: dict[Key, Completion] = {}
        if agent is None and not self._path.exists():
            raise DataError(f"there is no cache {path}: record one first")
        if self._path.exists():
            self._known.update(_read(self._path))
        self.hits = self.misses = 0

    async def act(self, context: Context, *, sampling: Sampling, seed: int) -> Completion:
        """The recorded completion, or the agent's.

        Raises:
            InfraFailure: nothing recorded, and no agent to ask.
        """
        key = Key.of(context, sampling, seed, self._label)
        with self._lock:
            found = self._known.get(key)
            self.hits, self.misses = self.hits + bool(found), self.misses + (not found)
        if found is not None:
            return found
        if self._agent is None:
            raise InfraFailure(self._miss(key, context))
        completion = await self._agent.act(context, sampling=sampling, seed=seed)
        with self._lock:
            # Whoever asked the same at the same time gets the reply that a replay will give.
            if key not in self._known:
                self._known[key] = completion
                self._append(key, completion)
            return self._known[key]

    def release(self, episode: str) -> None:
        """Passed on to the agent."""
        release = getattr(self._agent, "release", None)
        if release is not None:
            release(episode)

    def _miss(self, key: Key, context: Context) -> str:
        same = any(known.conversation == key.conversation for known in self._known)
        why = (
            "The conversation is there, with another seed, sampling or label."
            if same
            else "This conversation was never recorded; an environment that is not deterministic, "
            "or was changed, looks like this."
        )
        newest = context.new[-1].content if context.new else ""
        return (
            f"{self._path} holds {len(self._known)} completions and none for turn "
            f"{len(context.turns)} of episode {context.episode} (newest message {newest[:80]!r}). "
            f"{why}"
        )

    def _append(self, key: Key, completion: Completion) -> None:
        line = json.dumps(
            {
                "cache_version": FORMAT_VERSION,
                "conversation": key.conversation,
                "draw": key.draw,
                "completion": completion_to(completion),
            },
            ensure_ascii=False,
            allow_nan=False,
        )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            # A writer that was killed leaves half a line; the new one must not continue it.
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            data = ("\n" * torn + line + "\n").encode()
            if os.write(descriptor, data) != len(data):
                raise InfraFailure(f"cannot write to {self._path}: the disk is full")
        finally:
            os.close(descriptor)


def is_cache(path: str | Path) -> bool:
    """Whether the file starts as a cache does."""
    with open(path, encoding="utf-8") as file:
        return "cache_version" in file.readline()[:40]


def _read(path: Path) -> Iterator[tuple[Key, Completion]]:
    """The first record of each key; lines that were cut off are left out."""
    seen: set[Key] = set()
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        try:
            data: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        try:
            version = data["cache_version"]
            if version != FORMAT_VERSION:
                raise DataError(f"{path} has cache format {version}, this turngym knows 1")
            key = Key(conversation=data["conversation"], draw=data["draw"])
            completion = completion_from(data["completion"])
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"{path}, line {number}: not a recorded completion ({error!r})"
            ) from error
        if key not in seen:
            seen.add(key)
            yield key, completion


def _hash(data: Any) -> str:
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()
