"""Conversational QA: steps a second with 512 episodes alive, index build and query latency.

    python benchmarks/conversational_qa.py                   # 1,000 and 100,000 passages, about 30 s
    python benchmarks/conversational_qa.py --sizes 1000000   # a million passages, a minute or two
    python benchmarks/conversational_qa.py --sizes --dense 10000 100000   # the approximate index

Prints the figures and writes them to benchmarks/results/conversational_qa.json. The peer of the index is
bm25s (pip install bm25s; left out when missing), with the same formula, k1, b, tokens and 10 hits, after a
check that both give the same scores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import turngym
from turngym.agents.scripted import ScriptedAgent
from turngym.envs.conversational_qa.expert import expert
from turngym.envs.retrieval.approximate import Approximate
from turngym.envs.retrieval.batched import Batched
from turngym.envs.retrieval.bm25 import BM25
from turngym.envs.retrieval.client import SearchServer
from turngym.envs.retrieval.passages import Hit, Passage, Retriever
from turngym.envs.retrieval.vectors import Dense
from turngym.trainers.episode import Group, RolloutConfig
from turngym.trainers.rollout import rollout

OUT = Path(__file__).parent / "results" / "conversational_qa.json"
HITS = 10


def corpus(size: int, vocabulary: int = 60_000, seed: int = 0) -> list[list[str]]:
    """Texts of 30 to 80 words, word frequencies as 1 / rank; no word is stemmed or a stop word."""
    rng = random.Random(seed)
    words = [f"w{number}x" for number in range(vocabulary)]
    weights = [1 / rank for rank in range(1, vocabulary + 1)]
    lengths = [rng.randint(30, 80) for _ in range(size)]
    drawn = iter(rng.choices(words, weights, k=sum(lengths)))
    return [[next(drawn) for _ in range(length)] for length in lengths]


def queries(count: int, seed: int = 1) -> list[str]:
    """Four words each, of middle frequency: what is left of a question without stop words."""
    rng = random.Random(seed)
    return [" ".join(f"w{rng.randint(200, 20_000)}x" for _ in range(4)) for _ in range(count)]


def latency(search: Callable[[str], object], texts: Sequence[str]) -> dict[str, float]:
    """Milliseconds of single queries, each asked once."""
    times = []
    for text in texts:
        start = time.perf_counter()
        search(text)
        times.append(1e3 * (time.perf_counter() - start))
    cuts = statistics.quantiles(times, n=100)
    return {"p50_ms": round(cuts[49], 3), "p95_ms": round(cuts[94], 3)}


def write_corpus(path: Path, texts: Sequence[Sequence[str]]) -> None:
    """JSON lines as Search-R1 has them."""
    with path.open("w", encoding="utf-8") as file:
        for number, words in enumerate(texts):
            contents = '""\n' + " ".join(words)
            file.write(json.dumps({"id": str(number), "contents": contents}) + "\n")


def index_figures(size: int) -> dict[str, Any]:
    """Build, reopening, disk, latency, and the peer."""
    texts = corpus(size)
    folder = Path(tempfile.mkdtemp())
    try:
        write_corpus(folder / "corpus.jsonl", texts)
        start = time.perf_counter()
        BM25.of_file(folder / "corpus.jsonl", folder / "cache")
        built = time.perf_counter() - start
        start = time.perf_counter()
        index = BM25.of_file(folder / "corpus.jsonl", folder / "cache")
        opened = time.perf_counter() - start
        disk = sum(path.stat().st_size for path in (folder / "cache").rglob("*") if path.is_file())
        asked = queries(500)
        figures: dict[str, Any] = {
            "build_s": round(built, 2),
            "open_s": round(opened, 3),
            "disk_mb": round(disk / 2**20, 1),
            **latency(lambda text: index.search([text], HITS), asked),
        }
        figures["bm25s"] = peer_figures(texts, asked, index)
    finally:
        shutil.rmtree(folder)
    return figures


def peer_figures(texts: list[list[str]], asked: list[str], index: BM25) -> dict[str, Any] | None:
    """bm25s on the same texts; None when it is not installed."""
    try:
        import bm25s
    except ImportError:
        return None
    start = time.perf_counter()
    peer = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    peer.index(texts, show_progress=False)
    built = time.perf_counter() - start

    def search(text: str) -> Any:
        return peer.retrieve([text.split()], k=HITS, show_progress=False)

    worst = 0.0
    for text in asked[:50]:
        ours = [hit.score for hit in index.search([text], HITS)[0]]
        # Lucene left the constant k1 + 1 out of its formula; tantivy has it.
        theirs = [2.2 * float(score) for score in search(text).scores[0]]
        gaps = [abs(a - b) / max(a, 1e-9) for a, b in zip(ours, theirs, strict=False)]
        worst = max([worst, *gaps])
    # tantivy stores the length of a text in one byte: lengths above 40 words are rounded.
    if worst > 0.05:
        raise SystemExit(f"scores differ from bm25s by {worst:.1%}: not the same computation")
    fewer = asked[:100]
    return {
        "version": version("bm25s"),
        "largest_score_difference": round(worst, 4),
        "build_s": round(built, 2),
        **latency(search, fewer),
    }


def steps_per_second(size: str | None, episodes: int = 512) -> dict[str, float]:
    """Rollout with the scripted agent, all episodes alive at once."""
    env = turngym.make("turngym/ConversationalQA-v0", size=size)
    ids = env.tasks("train")[:episodes]
    groups = [Group(key=str(n), task_id=id, seed=n, size=1) for n, id in enumerate(ids)]
    agent = ScriptedAgent(lambda context: expert(context.messages))
    config = RolloutConfig(concurrency=episodes)

    def make() -> turngym.TextEnv:
        return turngym.make("turngym/ConversationalQA-v0", size=size)

    rollout(make, agent, groups[:16], config)
    start = time.perf_counter()
    played = rollout(make, agent, groups, config)
    seconds = time.perf_counter() - start
    assert all(trajectory.success for trajectory in played)
    turns = sum(len(trajectory.turns) for trajectory in played)
    return {"rollout_steps_per_s": round(turns / seconds), **stepping(env, ids)}


def stepping(env: turngym.TextEnv, ids: Sequence[str]) -> dict[str, float]:
    """The environment alone: a search in every step, each query new; then forks."""
    count = 0
    start = time.perf_counter()
    for number, task_id in enumerate(ids):
        env.reset(seed=0, options={"task_id": task_id})
        for turn in range(3):
            env.step(f"<search> mayor of town number {number} {turn} </search>")
            count += 1
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(1000):
        env.fork()
    return {
        "steps_per_s": round(count / seconds),
        "fork_us": round(1e3 * (time.perf_counter() - start)),
    }


def through_a_server(episodes: int = 512) -> dict[str, Any]:
    """The same episodes when searches go through a server, one by one and in shared requests."""
    env = turngym.make("turngym/ConversationalQA-v0")
    groups = [Group(key=id, task_id=id, seed=0) for id in env.tasks("train")[:episodes]]
    agent = ScriptedAgent(lambda context: expert(context.messages))
    requests: list[int] = []

    class Counting(SearchServer):
        def search(self, queries: Sequence[str], k: int) -> list[tuple[Hit, ...]]:
            requests.append(len(queries))
            return super().search(queries, k)

    def play(retriever: Retriever) -> dict[str, float]:
        requests.clear()
        start = time.perf_counter()
        played = rollout(
            lambda: turngym.make("turngym/ConversationalQA-v0", retriever=retriever),
            agent,
            groups,
            RolloutConfig(concurrency=episodes),
        )
        seconds = time.perf_counter() - start
        assert all(trajectory.success for trajectory in played)
        turns = sum(len(trajectory.turns) for trajectory in played)
        return {
            "rollout_steps_per_s": round(turns / seconds),
            "requests": len(requests),
            "largest_request": max(requests),
        }

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.jsonl"
        with corpus.open("w", encoding="utf-8") as file:
            for passage in env.unwrapped.source.passages:
                file.write(json.dumps({"id": passage.id, "contents": passage.contents}) + "\n")
        command = [sys.executable, "-m", "turngym", "serve-search", str(corpus)]
        command += ["--port", str(port), "--cache", folder]
        server = subprocess.Popen(command, stderr=subprocess.PIPE)
        try:
            server.stderr.readline()  # it says when the index is there
            client = Counting(f"http://127.0.0.1:{port}/retrieve", attempts=8, backoff_s=0.1)
            client.search(["warm"], 1)
            return {"one by one": play(client), "shared": play(Batched(client))}
        finally:
            server.terminate()
            server.communicate(timeout=10)


def dense_figures(size: int, dimensions: int = 256) -> dict[str, Any]:
    """The approximate index against the exact one on the same vectors: recall of its 10 hits.

    Vectors have 32 independent directions, as few as embeddings of sentences have; queries are
    vectors of the corpus with noise. 256 independent ones would be harder than any real corpus.
    """
    rng = np.random.default_rng(0)
    latent, spread = rng.normal(size=(size, 32)), rng.normal(size=(32, dimensions))
    table = latent @ spread
    noise = 0.5 * rng.normal(size=(200, 32))
    asked = (latent[rng.integers(size, size=200)] + noise) @ spread
    texts = [Passage(id=str(number), text="") for number in range(size)]

    def of_queries(names: Sequence[str]) -> np.ndarray:
        return asked[[int(name) for name in names]].astype(np.float32)

    exact = Dense(texts, lambda _: table.astype(np.float32), of_queries)
    start = time.perf_counter()
    index = Approximate(texts, lambda _: table.astype(np.float32), of_queries)
    built = time.perf_counter() - start
    names = [str(number) for number in range(len(asked))]
    golds, found = exact.search(names, HITS), index.search(names, HITS)
    shared = [
        len({hit.passage.id for hit in gold} & {hit.passage.id for hit in hits}) / HITS
        for gold, hits in zip(golds, found, strict=True)
    ]
    return {
        "dimensions": dimensions,
        "recall_of_exact": round(statistics.fmean(shared), 4),
        "build_s": round(built, 1),
        "approximate": latency(lambda name: index.search([name], HITS), names),
        "exact": latency(lambda name: exact.search([name], HITS), names),
    }


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000, 100_000])
    parser.add_argument("--dense", type=int, nargs="*", default=[10_000])
    arguments = parser.parse_args()
    result: dict[str, Any] = json.loads(OUT.read_text()) if OUT.exists() else {"index": {}}
    result["machine"] = (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    result["date"] = datetime.now(UTC).date().isoformat()
    result["versions"] = {name: version(name) for name in ("turngym", "tantivy", "usearch")}
    result["environment"] = {name or "default": steps_per_second(name) for name in (None, "demo")}
    result["through_a_server"] = through_a_server()
    for size in arguments.dense:
        result.setdefault("dense", {})[str(size)] = dense_figures(size)
    for size in arguments.sizes:
        result["index"][str(size)] = index_figures(size)
    result["peak_rss_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)
    text = json.dumps(result, indent=2) + "\n"
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
