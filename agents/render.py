"""Context -> prompt token ids, by appending only: sampled tokens are never tokenised again.

A prompt extends the previous prompt and reply if the chat template is prefix-preserving for this
conversation, which is checked each time. Where it is not (a template that drops earlier reasoning,
say) the whole conversation is rendered anew and opens a new segment.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from turngym.errors import ConfigError
from turngym.types import Context, Message

__all__ = ["Prompt", "Renderer", "past_ids"]

_MARK = "\u2603turngym\u2603"


@dataclass(frozen=True, slots=True)
class Prompt:
    """What to feed to the model."""

    new_ids: array[int]
    """Tokens since the last sampled one, or the whole prompt if `opens_segment`."""
    opens_segment: bool


class Renderer:
    """Renders conversations with a Hugging Face tokenizer's chat template.

    Raises:
        ConfigError: the tokenizer has no chat template or no end-of-sequence token.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise ConfigError(
                f"the tokenizer {getattr(tokenizer, 'name_or_path', '')!r} has no chat template: "
                "set tokenizer.chat_template, or use the instruct version of the model"
            )
        if tokenizer.eos_token_id is None:
            raise ConfigError("the tokenizer has no end-of-sequence token (eos_token)")
        self.tokenizer = tokenizer
        self._closing = self._closing_text()

    def prompt(self, context: Context) -> Prompt:
        """The prompt of the next reply.

        What is appended: the rest of the template's closing of the last reply (all of it when the
        reply was cut before its end token), then the new messages and the generation prompt.
        """
        whole = self._text(context.messages, context.tools, ask=True)
        if not context.turns:
            return Prompt(self._encode(whole), True)
        last = context.turns[-1]
        before = context.messages[: -len(context.new) or None]
        asked = self._text(before[:-1], context.tools, ask=True)
        answered = self._text(before, context.tools, ask=False)
        appends = whole.startswith(answered) and answered.startswith(asked)
        if not appends or not last.completion.trainable:
            return Prompt(self._encode(whole), True)
        ended = last.completion.reply_ids[-1] == self.tokenizer.eos_token_id
        closing = self._closing
        if ended:
            closing = closing.removeprefix(self.tokenizer.eos_token)
        return Prompt(self._encode(closing + whole[len(answered) :]), False)

    def reply(self, message: Message) -> array[int]:
        """The ids a model would have sampled to say `message`, its end token included."""
        asked = self._text((_PROBE,), (), ask=True)
        answered = self._text((_PROBE, message), (), ask=False)
        body = answered.removeprefix(asked).removesuffix(self._closing)
        return self._encode(body + str(self.tokenizer.eos_token))

    def _closing_text(self) -> str:
        """What the template writes after the words of a reply, its end token included."""
        probe = Message(role="assistant", content=_MARK)
        text = self._text((_PROBE, probe), (), ask=False)
        _, found, closing = text.partition(_MARK)
        if not found:
            raise ConfigError("the chat template does not show the content of assistant messages")
        return closing

    def _text(self, messages: Sequence[Message], tools: Sequence[Any], *, ask: bool) -> str:
        text: str = self.tokenizer.apply_chat_template(
            [_for_template(message) for message in messages],
            tools=list(tools) or None,
            add_generation_prompt=ask,
            tokenize=False,
        )
        return text

    def _encode(self, text: str) -> array[int]:
        return array("i", self.tokenizer.encode(text, add_special_tokens=False))


_PROBE = Message(role="user", content="?")


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
