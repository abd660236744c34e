"""The floor: aiohttp and nothing else. python driver_raw.py URL EPISODES TURNS"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import aiohttp

ROUNDS = 7


async def main(url: str, episodes: int, turns: int) -> None:
    """Post growing token ids, read the reply's ids."""

    async def episode(session: aiohttp.ClientSession) -> None:
        ids = [5, 6, 7, 8] * 8
        for _ in range(turns):
            body = {"model": "stub", "prompt": ids, "max_tokens": 64, "return_token_ids": True}
            async with session.post(f"{url}/completions", json=body) as answer:
                data = await answer.json()
            ids = [*ids, *data["choices"][0]["token_ids"], 9, 10, 11]

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1024)) as session:
        rounds = []
        for _ in range(ROUNDS):
            wall, cpu = time.perf_counter(), time.process_time()
            await asyncio.gather(*[episode(session) for _ in range(episodes)])
            rounds.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu, wall = min(rounds)
    count = episodes * turns
    figures = {"turns": count, "cpu_ms_per_turn": cpu / count * 1e3, "turns_per_s": count / wall}
    print(json.dumps(figures))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
