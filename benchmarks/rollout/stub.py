"""A fast stub of a vLLM server: `python stub.py` prints its port. Every reply is 64 tokens.

Runs in a process of its own, so that its time is not counted as the driver's.
"""

from __future__ import annotations

import asyncio
import json

REPLY_IDS = [11, 12, 13, 14] * 15 + [11, 12, 13, 2]
"""The last one is the tiny policies' end of turn."""
LOGPROBS = [-0.5] * 64
TEXT = "guess fifty"
USAGE = {"prompt_tokens": 100, "completion_tokens": 64, "total_tokens": 164}


def answer(path: bytes, body: bytes) -> bytes:
    """The whole JSON answer."""
    choice: dict[str, object] = {"index": 0, "finish_reason": "stop", "token_ids": REPLY_IDS}
    if path.endswith(b"/chat/completions"):
        data = json.loads(body)
        content = [{"token": "t", "logprob": value, "top_logprobs": []} for value in LOGPROBS]
        choice["message"] = {"role": "assistant", "content": TEXT}
        if data.get("logprobs"):
            choice["logprobs"] = {"content": content}
    else:
        choice["text"] = TEXT
        choice["logprobs"] = {"token_logprobs": LOGPROBS, "tokens": ["t"] * 64}
    return json.dumps(
        {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "stub",
            "choices": [choice],
            "usage": USAGE,
        }
    ).encode()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One kept connection."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            length = next(
                (int(ln[15:]) for ln in lines if ln.lower().startswith(b"content-length:")), 0
            )
            body = await reader.readexactly(length)
            data = answer(lines[0].split()[1], body)
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                % len(data)
            )
            writer.write(data)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main() -> None:
    """Serve until killed."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
