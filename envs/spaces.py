"""Gymnasium spaces of chat messages: any Unicode text, unlike `spaces.Text`."""

from collections.abc import Sequence
from typing import Any

from gymnasium import Space

from turngym.types import Message

__all__ = ["MessagesSpace", "ReplySpace"]

SAMPLE_TEXTS = ("", "hello", "café naïve", "two\nlines\tand a tab", "🙂 emoji", "搜索 红色 鞋子")


class MessagesSpace(Space[tuple[Message, ...]]):
    """Observations: the messages that are new since the agent's last reply."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(None, None, seed)

    def sample(self, mask: Any = None, probability: Any = None) -> tuple[Message, ...]:
        """One to three user messages, drawn from the space's own generator."""
        count = int(self.np_random.integers(1, 4))
        chosen = self.np_random.integers(len(SAMPLE_TEXTS), size=count)
        return tuple(Message(role="user", content=SAMPLE_TEXTS[index]) for index in chosen)

    def contains(self, x: Any) -> bool:
        """Whether `x` is a tuple of messages, possibly empty."""
        return isinstance(x, tuple) and all(isinstance(item, Message) for item in x)

    @property
    def is_np_flattenable(self) -> bool:
        """False: text has no fixed-size array form."""
        return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MessagesSpace)

    def __repr__(self) -> str:
        return "MessagesSpace()"


class ReplySpace(Space[Message]):
    """Actions: an assistant message; plain text is taken as its content."""

    def __init__(self, replies: Sequence[str] = SAMPLE_TEXTS, seed: int | None = None) -> None:
        super().__init__(None, None, seed)
        self.replies = tuple(replies)
        """What `sample` draws from; an environment may list useful actions here."""

    def sample(self, mask: Any = None, probability: Any = None) -> Message:
        """An assistant message with one of `replies` as its content."""
        chosen = int(self.np_random.integers(len(self.replies)))
        return Message(role="assistant", content=self.replies[chosen])

    def contains(self, x: Any) -> bool:
        """Whether `x` is text or an assistant message."""
        return isinstance(x, str) or (isinstance(x, Message) and x.role == "assistant")

    @property
    def is_np_flattenable(self) -> bool:
        """False: text has no fixed-size array form."""
        return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReplySpace) and self.replies == other.replies

    def __repr__(self) -> str:
        return "ReplySpace()"
