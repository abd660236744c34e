"""The floor: aiohttp and nothing else. python driver_raw.py URL EPISODES TURNS"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
from scenario import REPLY_IDS, START, Stopwatch, report, said

ROUNDS = 15


async def main(url: str, episodes: int, turns: int) -> None:
    """Post growing token ids, read the reply's ids."""

    async def episode(session: aiohttp.ClientSession) -> list[str]:
        ids, told = [5, 6, 7, 8] * 8, [START]
        for turn in range(turns):
            body = {
                "model": "stub",
                "prompt": ids,
                "max_tokens": 64,
                "logprobs": 0,
                "return_token_ids": True,
            }
            async with session.post(f"{url}/completions", json=body) as answer:
                reply = (await answer.json())["choices"][0]["token_ids"]
            assert len(reply) == len(REPLY_IDS)
            told.append(said(turn + 1))
            ids = [*ids, *reply, 9, 10, 11]
        return told

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1024)) as session:
        rounds, told = [], []
        for _ in range(ROUNDS + 1):
            watch = Stopwatch()
            told = await asyncio.gather(*[episode(session) for _ in range(episodes)])
            rounds.append(watch.read())
    replies = len(rounds) * episodes * turns
    report(
        rounds[1:], told, turns=turns, replies=replies, versions={"aiohttp": aiohttp.__version__}
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
