"""Context -> prompt token ids, by appending only: sampled tokens are never tokenised again.

A prompt extends the previous prompt and reply if the chat template is prefix-preserving for this
conversation. Where it is not (a template that drops earlier reasoning, say) the whole conversation
is rendered anew and opens a new segment.

Rendering all of a conversation each turn costs more than anything else a driver does. So it is done
once for each shape of a conversation (roles, presence of calls and reasoning in the last messages):
if what the template appends there is what it also says after a short conversation, later turns of
that shape render only their new messages, and where it only writes around the words of users and
tools, not even those.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from turngym.errors import ConfigError
from turngym.types import Completion, Context, Message

__all__ = ["Prompt", "Renderer", "past_ids"]

_MARK = "\u2603turngym\u2603"
_MARK_ESCAPED = f"{_MARK}\"'\\\n&{{}}"
"""With all that a template could escape, as `tojson` does."""
_MAX_RECENT = 1024
"""Episodes whose last prompt is kept as text; for others it is rendered once more."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What to feed to the model."""

    new_ids: array[int]
    """Tokens since the last sampled one, or the whole prompt if `opens_segment`."""
    opens_segment: bool


@dataclass(frozen=True, slots=True)
class _Rendered:
    """A prompt as text, kept because the next turn compares with it."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...]
    text: str


class Renderer:
    """Renders conversations with a Hugging Face tokenizer's chat template.

    Raises:
        ConfigError: the tokenizer has no chat template or no token that ends a reply.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise ConfigError(
                f"the tokenizer {getattr(tokenizer, 'name_or_path', '')!r} has no chat template: "
                "set tokenizer.chat_template, or use the instruct version of the model"
            )
        self.tokenizer = tokenizer
        self._fast = getattr(tokenizer, "backend_tokenizer", None)
        self._closing = self._closing_text()
        self._end = self._end_id()
        self._end_text: str = tokenizer.decode([self._end], skip_special_tokens=False)
        self._recent: OrderedDict[str, _Rendered] = OrderedDict()
        self._is_local: dict[Hashable, bool] = {}
        """By shape, whether new messages can be rendered alone."""
        self._around: dict[Hashable, tuple[str, ...] | None] = {}
        """By shape, what the template writes before, between and after the words of new messages;
        None where that is not all it does."""
        self._probe_text = self._text((_PROBE, _PROBE_REPLY), (), ask=False)

    @property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end a reply: the template's own end of turn, and the end of sequence."""
        return frozenset({self._end, self.tokenizer.eos_token_id} - {None})

    def prompt(self, context: Context) -> Prompt:
        """The prompt of the next reply.

        What is appended: the rest of the template's closing of the last reply (all of it when the
        reply was cut before its end token), then the new messages and the generation prompt.

        Raises:
            ConfigError: the template refuses the conversation.
        """
        shape = _shape(context)
        if self._is_local.get(shape):
            tail = self._filled(shape, context) or self._local_tail(context)
            if tail is not None:
                return Prompt(self._encode(tail), False)
        whole = self._text(context.messages, context.tools, ask=True)
        tail = self._tail(context, whole)
        if tail is not None and shape not in self._is_local:
            self._is_local[shape] = tail == self._local_tail(context)
            if self._is_local[shape]:
                self._around[shape] = self._learn_around(context)
        self._recent[context.episode] = _Rendered(context.messages, context.tools, whole)
        self._recent.move_to_end(context.episode)
        if len(self._recent) > _MAX_RECENT:
            self._recent.popitem(last=False)
        if tail is None:
            return Prompt(self._encode(whole), True)
        return Prompt(self._encode(tail), False)

    def reply(self, message: Message) -> array[int]:
        """The ids a model would have sampled to say `message`, its end token included.

        Raises:
            ConfigError: the template does not write a reply right after its prompt.
        """
        asked = self._text((_PROBE,), (), ask=True)
        answered = self._text((_PROBE, message), (), ask=False)
        if not (answered.startswith(asked) and answered.endswith(self._closing)):
            raise ConfigError(
                "the chat template does not write a reply between its prompt and its closing: "
                f"expected {asked!r}...{self._closing!r}, got {answered!r:.300}"
            )
        body = answered[len(asked) : len(answered) - len(self._closing)]
        return self._encode(body + self._end_text)

    def before(
        self, conversation: Sequence[Message], message: Message
    ) -> tuple[array[int], array[int]]:
        """The ids that lead up to the words of `message`, and those of the words.

        Raises:
            ConfigError: the message has no words, or the template does not show them.
        """
        marked = replace(message, content=_MARK)
        head, found, _ = self._text((*conversation, marked), (), ask=False).rpartition(_MARK)
        if not found or not message.content.strip():
            raise ConfigError(
                f"cannot score a {message.role} message {message.content!r:.80}: it must hold "
                "words, and the chat template must show them"
            )
        return self._encode(head), self._encode(message.content)

    def _tail(self, context: Context, whole: str) -> str | None:
        """The text after the last sampled token; None where the prompt does not extend it."""
        if not context.turns or not context.turns[-1].completion.trainable:
            return None
        if context.turns[-1].drops:
            return None  # the tokens so far hold what later prompts must not
        last = context.turns[-1].completion
        before = context.messages[: -len(context.new) or None]
        asked = self._asked(context, before[:-1])
        answered = self._text(before, context.tools, ask=False)
        if not (whole.startswith(answered) and answered.startswith(asked)):
            return None
        # A template may hide reasoning at once, not only when the next turn comes.
        if (last.message.reasoning or "").strip() not in answered[len(asked) :]:
            return None
        return self._closing_of(last) + whole[len(answered) :]

    def _local_tail(self, context: Context) -> str | None:
        """What `_tail` says, from the last reply and the new messages alone."""
        last = context.turns[-1].completion
        text = self._appended(last.message, context.new)
        return None if text is None else self._closing_of(last) + text

    def _appended(self, last: Message, new: tuple[Message, ...]) -> str | None:
        """The text of `new` after a short conversation."""
        before: tuple[Message, ...] = (_PROBE, _PROBE_REPLY)
        try:
            if any(message.role == "tool" for message in new):
                before = (_PROBE, last)  # templates look for the call that is answered
                known = self._text(before, (), ask=False)
            else:
                known = self._probe_text
            whole = self._text((*before, *new), (), ask=True)
        except ConfigError:
            return None
        return whole[len(known) :] if whole.startswith(known) else None

    def _filled(self, shape: Hashable, context: Context) -> str | None:
        """`_local_tail` without the template, for plain words between what it is known to write."""
        around = self._around.get(shape)
        if around is None or not _all_plain(context.new):
            return None
        last = context.turns[-1].completion
        return self._closing_of(last) + _fill(around, context.new)

    def _learn_around(self, context: Context) -> tuple[str, ...] | None:
        new, last = context.new, context.turns[-1].completion.message
        if not _all_plain(new):
            return None
        around = self._around_marks(last, new)
        # Tools answer other calls next time: nothing of this one may be in what is kept.
        if around != self._around_marks(*_other_calls(last, new)):
            return None
        return around if _fill(around, new) == self._appended(last, new) else None

    def _around_marks(self, last: Message, new: tuple[Message, ...]) -> tuple[str, ...]:
        marked = tuple(replace(m, content=f"{_MARK_ESCAPED}{i}") for i, m in enumerate(new))
        rest, pieces = self._appended(last, marked) or "", []
        for message in marked:
            head, _, rest = rest.partition(message.content)
            pieces.append(head)
        return (*pieces, rest)

    def _closing_of(self, last: Completion) -> str:
        """What the template writes after the last sampled token."""
        ended = last.reply_ids[-1] == self._end
        return self._closing.removeprefix(self._end_text) if ended else self._closing

    def _asked(self, context: Context, messages: tuple[Message, ...]) -> str:
        """The text of the last turn's prompt."""
        kept = self._recent.get(context.episode)
        if kept is not None and kept.messages == messages and kept.tools == context.tools:
            return kept.text
        return self._text(messages, context.tools, ask=True)

    def _closing_text(self) -> str:
        """What the template writes after the words of a reply, its end token included."""
        probe = Message(role="assistant", content=_MARK)
        text = self._text((_PROBE, probe), (), ask=False)
        _, found, closing = text.rpartition(_MARK)
        if not found:
            raise ConfigError("the chat template does not show the content of assistant messages")
        return closing

    def _end_id(self) -> int:
        """The token that the template writes after a reply: chat models are trained to sample it,
        and it need not be the tokenizer's end of sequence."""
        first = self._encode(self._closing)[:1]
        if first and first[0] in self.tokenizer.get_added_vocab().values():
            return first[0]
        if self.tokenizer.eos_token_id is None:
            raise ConfigError(
                "nothing ends a reply: the chat template writes no special token after it, and "
                "the tokenizer has no end-of-sequence token (eos_token)"
            )
        return int(self.tokenizer.eos_token_id)

    def _text(self, messages: Sequence[Message], tools: Sequence[Any], *, ask: bool) -> str:
        from jinja2 import TemplateError

        try:
            text: str = self.tokenizer.apply_chat_template(
                [_for_template(message) for message in messages],
                tools=list(tools) or None,
                add_generation_prompt=ask,
                tokenize=False,
            )
        except TemplateError as error:
            roles = ", ".join(message.role for message in messages)
            raise ConfigError(f"the chat template refuses the roles {roles}: {error}") from error
        return text

    def _encode(self, text: str) -> array[int]:
        fast = self._fast
        if fast is not None and fast.truncation is None and fast.padding is None:
            # The same ids; the wrapper hands even a single text to a pool of threads.
            return array("i", fast.encode(text, add_special_tokens=False).ids)
        return array("i", self.tokenizer.encode(text, add_special_tokens=False))


_PROBE = Message(role="user", content="?")
_PROBE_REPLY = Message(role="assistant", content="!")
_SHAPE_MESSAGES = 6


def _shape(context: Context) -> Hashable:
    """All that a template may look at beside the words, of the last messages."""
    last = context.turns[-1] if context.turns else None
    if last is None or last.drops or not last.completion.trainable:
        return None
    messages = _last_messages(context, _SHAPE_MESSAGES + 1)
    looks = tuple(
        (
            m.role,
            bool(m.content),
            len(m.tool_calls),
            m.tool_call_id is not None,
            m.name is not None,
            m.reasoning is not None,
            "think>" in m.content,
        )
        for m in messages[-_SHAPE_MESSAGES:]
    )
    return looks, len(messages) > _SHAPE_MESSAGES, bool(context.tools), len(context.new)


def _last_messages(context: Context, count: int) -> tuple[Message, ...]:
    """The last `count` of `context.messages`, without going through all of a long episode."""
    found = [*reversed(context.new)]
    for turn in reversed(context.turns):
        if len(found) >= count:
            break  # what earlier turns dropped lies before them
        if turn.drops:
            return context.messages[-count:]
        found += [turn.completion.message, *reversed(turn.seen)]
    return tuple(reversed(found[:count]))


def _all_plain(messages: Sequence[Message]) -> bool:
    """Nothing that a template treats otherwise than other words: tags, outer white space, calls."""
    return all(
        (m.role == "tool" or (m.role == "user" and m.name is None))
        and "<" not in m.content
        and m.content == m.content.strip() != ""
        for m in messages
    )


def _other_calls(last: Message, new: tuple[Message, ...]) -> tuple[Message, tuple[Message, ...]]:
    """The same with other names, ids and arguments in the calls and in what answers them."""
    calls = [
        replace(call, id=f"{call.id}9", name=f"{call.name}9", arguments={"other": 9})
        for call in last.tool_calls
    ]
    answers = (
        replace(
            m,
            tool_call_id=m.tool_call_id and f"{m.tool_call_id}9",
            name=m.name and f"{m.name}9",
        )
        for m in new
    )
    return replace(last, tool_calls=tuple(calls)), tuple(answers)


def _fill(around: Sequence[str], messages: Sequence[Message]) -> str:
    parts = [f"{text}{m.content}" for text, m in zip(around, messages, strict=False)]
    return "".join(parts) + around[-1]


def past_ids(context: Context) -> array[int]:
    """All ids of the current segment so far: prompts and sampled replies, as they were."""
    ids = array("i")
    for turn in context.turns:
        if turn.completion.opens_segment:
            ids = array("i")
        ids.extend(turn.completion.new_prompt_ids)
        ids.extend(turn.completion.reply_ids)
    return ids


def _for_template(message: Message) -> dict[str, Any]:
    data: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning is not None:
        data["reasoning_content"] = message.reasoning
    if message.tool_call_id is not None:
        data["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        data["name"] = message.name
    if message.tool_calls:
        data["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": dict(call.arguments)},
            }
            for call in message.tool_calls
        ]
    return data
