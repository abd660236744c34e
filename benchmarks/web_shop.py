"""Web shop: steps a second, search latency, start-up and memory, ranking against Lucene's defaults.

    python benchmarks/web_shop.py                     # 1,000 and 100,000 products, about 20 s
    python benchmarks/web_shop.py --sizes 1000000     # adds a million: about a minute more

Prints the figures and writes them to benchmarks/results/web_shop.json. The peer is the original text
environment, which needs Java and cannot run here: 99.6 steps a second on one core, search not counted
(`PEER_STEPS`). Ranking needs --documents FILE, the original's documents_1k.jsonl.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import platform
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import turngym
from turngym.envs.env import TextEnv
from turngym.envs.web_shop.search import Index
from turngym.types import Message

PEER_STEPS = 99.6
OUT = Path(__file__).parent / "results" / "web_shop.json"


class Silent(TextEnv):
    """Does nothing, so that what is left is TextEnv's own cost."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return (), {}

    def step(self, action: Message) -> Any:  # type: ignore[override]
        return (), 0.0, False, False, {}


class Bare:
    """The same without a base class."""

    def step(self, action: Message) -> Any:
        return (), 0.0, False, False, {}


def base_class_microseconds(steps: int = 200_000) -> float:
    """What TextEnv adds to one step."""
    reply = Message(role="assistant", content="x")
    env = Silent()
    env.reset(seed=0)
    return 1e6 * (_seconds(env.step, reply, steps) - _seconds(Bare().step, reply, steps)) / steps


def _seconds(call: Callable[[Message], Any], reply: Message, count: int) -> float:
    rounds = []
    for _ in range(5):
        begin = time.perf_counter()
        for _ in range(count // 5):
            call(reply)
        rounds.append(time.perf_counter() - begin)
    return 5 * min(rounds)


def steps_a_second(**settings: Any) -> dict[str, float]:
    """Episodes of gold actions in CPU time, every task and query new; with resets and without."""
    env = turngym.make("turngym/WebShop-v0", **settings)
    env.reset(seed=0)
    env.step("search[lamp]")  # builds the index
    steps, inside, begin = 0, 0.0, time.process_time()
    for task in env.tasks("train")[:1000]:
        env.reset(seed=0, options={"task_id": task})
        actions = env.privileged.gold_actions
        started = time.process_time()
        for action in actions:
            env.step(action)
        inside += time.process_time() - started
        steps += len(actions)
    whole = steps / (time.process_time() - begin)
    return {"with_resets": round(whole), "steps_only": round(steps / inside)}


def start_up(num_products: int) -> dict[str, Any]:
    """Seconds to the first results page, memory, and search latency, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_start_up, (num_products,))


def _start_up(num_products: int) -> dict[str, Any]:
    before = _megabytes()
    begin = time.perf_counter()
    env: Any = turngym.make("turngym/WebShop-v0", num_products=num_products)
    env.reset(seed=0)
    env.step("search[lamp]")
    ready, peak = time.perf_counter() - begin, _megabytes()
    products, index = env.market.products("train"), env.market.index("train")
    sample = random.Random(0).sample(range(num_products), min(num_products, 1000))
    titles = [products[number].title for number in sample]
    return {
        "start_s": round(ready, 2),
        "memory_mb": round(peak - before),
        "search_ms": _latency(index, titles),
    }


def synthetic_latency(num_documents: int = 100_000) -> dict[str, float]:
    """Search in texts of 30 to 80 words drawn by Zipf's law from 60,000; queries of 4 middling words."""
    rng = random.Random(0)
    words = range(1, 60_001)
    bounds = [0.0]
    for rank in words:
        bounds.append(bounds[-1] + 1 / rank)
    texts = (
        " ".join(f"w{n}" for n in rng.choices(words, cum_weights=bounds[1:], k=rng.randint(30, 80)))
        for _ in range(num_documents)
    )
    index = Index(texts)
    queries = [" ".join(f"w{rng.randint(200, 5000)}" for _ in range(4)) for _ in range(1000)]
    return _latency(index, queries)


def _latency(index: Index, queries: Sequence[str]) -> dict[str, float]:
    times = []
    for query in queries:
        begin = time.perf_counter()
        index.search(query, 50)
        times.append(1e3 * (time.perf_counter() - begin))
    times.sort()
    return {"p50": round(times[len(times) // 2], 4), "p95": round(times[len(times) * 95 // 100], 4)}


def ranking(documents: Path) -> dict[str, float]:
    """How our ranking differs from BM25 with pyserini's k1 = 0.9 and b = 0.4 on the same words.

    Queries: the `query` field and the title of every document. Overlaps are shares of the first k.
    """
    rows = [json.loads(line) for line in documents.read_text(encoding="utf-8").splitlines()]
    texts = [row["contents"] for row in rows]
    index = Index(texts)
    lucene = Lucene([index.words(text) for text in texts])
    queries = sorted({row["product"]["query"] for row in rows}) + [
        r["product"]["name"] for r in rows
    ]
    overlaps: dict[int, list[float]] = {1: [], 10: [], 50: []}
    for query in queries:
        ours, theirs = index.search(query, 50), lucene.search(index.words(query), 50)
        for k, shares in overlaps.items():
            if theirs:
                shares.append(len(set(ours[:k]) & set(theirs[:k])) / len(theirs[:k]))
    return {f"overlap_at_{k}": round(statistics.mean(v), 4) for k, v in overlaps.items()}


class Lucene:
    """BM25 as Lucene computes it, by brute force: idf * tf / (tf + k1 (1 - b + b len / mean))."""

    def __init__(self, texts: Sequence[Sequence[str]], k1: float = 0.9, b: float = 0.4) -> None:
        self.counts = [Counter(text) for text in texts]
        self.found_in = Counter(word for count in self.counts for word in count)
        mean = statistics.mean(map(len, texts))
        self.norms = [k1 * (1 - b + b * len(text) / mean) for text in texts]

    def search(self, words: Sequence[str], limit: int) -> list[int]:
        scores: Counter[int] = Counter()
        for word in words:
            found = self.found_in[word]
            idf = math.log(1 + (len(self.counts) - found + 0.5) / (found + 0.5))
            for number, count in enumerate(self.counts):
                if word in count:
                    scores[number] += idf * count[word] / (count[word] + self.norms[number])
        return sorted(scores, key=lambda number: (-scores[number], number))[:limit]


def _megabytes() -> float:
    """Peak memory of this process; ru_maxrss would count what the parent had."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return (
        next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        / 1024
    )


def main() -> None:
    """Run everything and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--sizes", type=int, nargs="*", default=[], help="catalogs besides 1k and 100k"
    )
    parser.add_argument("--documents", type=Path, help="documents_1k.jsonl of the original")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    pages = steps_a_second()
    results: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {name: version(name) for name in ("tantivy", "numpy", "gymnasium")},
        "python": platform.python_version(),
        "load_average_at_start": round(os.getloadavg()[0], 1),
        "base_class_us_per_step": round(base_class_microseconds(), 2),
        "steps_per_second": {"full_pages": pages, "demo": steps_a_second(size="demo")},
        "times_the_original": round(pages["steps_only"] / PEER_STEPS, 1),
        "catalogs": {str(size): start_up(size) for size in sorted({1000, 100_000, *options.sizes})},
        "search_ms_zipf_100k": synthetic_latency(),
    }
    if options.documents:
        results["ranking"] = ranking(options.documents)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
