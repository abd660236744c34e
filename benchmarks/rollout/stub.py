"""A fast stub of a vLLM server: `python stub.py` prints its port. Every reply has 64 tokens.

In a process of its own, so that its time is not counted as the driver's. Below /tools each reply
calls a tool. GET /count says how many replies were given since it was last asked.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from scenario import CALL, REPLY_IDS, WORDS

LOGPROBS = [-0.5] * len(REPLY_IDS)
TOKENS = [f"token_id:{token}" for token in REPLY_IDS]
USAGE = {"prompt_tokens": 100, "completion_tokens": 64, "total_tokens": 164}


class Stub:
    """Answers by path."""

    def __init__(self) -> None:
        self.replies = 0

    def answer(self, path: str, body: bytes) -> bytes:
        """The whole JSON answer."""
        if path == "/count":
            count, self.replies = self.replies, 0
            return json.dumps(count).encode()
        request = json.loads(body)
        text = CALL if path.startswith("/tools/") else WORDS
        prompts = request.get("prompt") or [[]]
        if not isinstance(prompts[0], list):
            prompts = [prompts]
        if path.endswith("/chat/completions"):
            choices = [_chat_choice(request, text)]
        else:
            choices = [_text_choice(prompt, index, text) for index, prompt in enumerate(prompts)]
        self.replies += len(choices)
        return json.dumps(
            {
                "id": "x",
                "object": "chat.completion",
                "created": 1,
                "model": "stub",
                "choices": choices,
                "usage": USAGE,
            }
        ).encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One kept connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.split(b"\r\n")
                length = next(
                    (int(ln[15:]) for ln in lines if ln.lower().startswith(b"content-length:")), 0
                )
                body = await reader.readexactly(length)
                data = self.answer(lines[0].split()[1].decode(), body)
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n" % len(data)
                )
                writer.write(data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def _chat_choice(request: Mapping[str, Any], text: str) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    choice["message"] = {"role": "assistant", "content": text}
    if request.get("return_token_ids"):
        choice["token_ids"] = REPLY_IDS
    if request.get("logprobs"):
        content = [{"token": "t", "logprob": value, "top_logprobs": []} for value in LOGPROBS]
        choice["logprobs"] = {"content": content}
    return choice


def _text_choice(prompt: Sequence[int], index: int, text: str) -> dict[str, Any]:
    top = [{token: value} for token, value in zip(TOKENS, LOGPROBS, strict=True)]
    return {
        "index": index,
        "finish_reason": "stop",
        "text": text,
        "token_ids": REPLY_IDS,
        "prompt_token_ids": prompt,
        "logprobs": {"token_logprobs": LOGPROBS, "tokens": TOKENS, "top_logprobs": top},
    }


async def main() -> None:
    """Serve until killed."""
    server = await asyncio.start_server(Stub().serve, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
