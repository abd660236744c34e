"""Batching of concurrent searches, and the approximate index against the exact one."""

import threading

import numpy as np
import pytest

from turngym.envs.retrieval.approximate import Approximate
from turngym.envs.retrieval.batched import Batched
from turngym.envs.retrieval.passages import Hit, Passage
from turngym.envs.retrieval.vectors import Dense
from turngym.errors import DataError, InfraFailure


class Slow:
    """Answers when told to; remembers what travelled together."""

    def __init__(self):
        self.calls, self.go, self.asked = [], threading.Event(), threading.Semaphore(0)

    def search(self, queries, k):
        self.calls.append((tuple(queries), k))
        self.asked.release()
        assert self.go.wait(10)
        if "bad" in queries:
            raise InfraFailure("down")
        return [(Hit(passage=Passage(id=f"{query}/{k}", text=""), score=1.0),) for query in queries]


def ask_all(retriever, source, requests):
    """Every request from a thread of its own; the first is under way before the others come."""
    results = {}

    def ask(number, queries, k):
        try:
            found = retriever.search(queries, k)
            results[number] = [hits[0].passage.id for hits in found]
        except InfraFailure as error:
            results[number] = error

    threads = []
    for number, (queries, k) in enumerate(requests):
        threads.append(threading.Thread(target=ask, args=(number, queries, k)))
        threads[-1].start()
        if number == 0:
            assert source.asked.acquire(timeout=10)
        while number and len(retriever._waiting) < number:  # in order
            threading.Event().wait(0.001)
    source.go.set()
    for thread in threads:
        thread.join(10)
    return [results[number] for number in range(len(requests))]


def test_callers_that_wait_travel_together_and_each_gets_its_own_hits():
    source = Slow()
    batched = Batched(source, in_flight=1)
    found = ask_all(
        batched, source, [(["a"], 3), (["b", "c"], 3), (["c"], 3), (["d"], 5), (["e"], 3)]
    )
    assert found == [["a/3"], ["b/3", "c/3"], ["c/3"], ["d/5"], ["e/3"]]
    # "c" once for two callers; another k travels apart.
    assert source.calls == [(("a",), 3), (("b", "c", "e"), 3), (("d",), 5)]


def test_no_call_is_larger_than_allowed_and_nobody_is_left_behind():
    source = Slow()
    batched = Batched(source, in_flight=1, max_queries=2)
    found = ask_all(batched, source, [([str(n)], 1) for n in range(8)])
    assert found == [[f"{n}/1"] for n in range(8)]
    assert [len(queries) for queries, _ in source.calls] == [1, 2, 2, 2, 1]


def test_a_failure_reaches_everyone_in_its_call_and_nobody_else():
    source = Slow()
    batched = Batched(source, in_flight=1, max_queries=2)
    found = ask_all(batched, source, [(["a"], 1), (["bad"], 1), (["b"], 1), (["c"], 1)])
    assert found[0] == ["a/1"] and found[3] == ["c/1"]
    assert isinstance(found[1], InfraFailure) and isinstance(found[2], InfraFailure)


def test_many_threads_get_what_they_asked_for():
    class Echo:
        def __init__(self):
            self.calls = 0

        def search(self, queries, k):
            self.calls += 1
            return [(Hit(passage=Passage(id=query, text=""), score=1.0),) for query in queries]

    echo = Echo()
    batched, wrong = Batched(echo), []

    def ask(own):
        for number in range(50):
            (hits,) = batched.search([f"{own}-{number}"], 1)
            if hits[0].passage.id != f"{own}-{number}":
                wrong.append(own)

    threads = [threading.Thread(target=ask, args=(own,)) for own in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong and echo.calls <= 800
    with pytest.raises(ValueError, match="in_flight"):
        Batched(echo, in_flight=0)


def passages(count):
    return [Passage(id=str(number), text=f"text {number}") for number in range(count)]


def embedding(count, dimensions=32):
    """Vectors around 50 centres, as those of real sentences lie."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(50, dimensions))
    table = centres[rng.integers(50, size=count)] + 0.5 * rng.normal(size=(count, dimensions))

    def embed(texts):
        return table[[int(text.rsplit(" ", 1)[1]) for text in texts]].astype(np.float32)

    return embed


def ids(hits):
    return [hit.passage.id for hit in hits]


def test_the_approximate_index_finds_nearly_what_the_exact_one_finds(tmp_path):
    pytest.importorskip("usearch")
    count, embed = 2000, embedding(2000)
    exact = Dense(passages(count), embed)
    path = tmp_path / "new" / "index.usearch"
    built = Approximate(passages(count), embed, path=path)
    asked = [f"query {number}" for number in range(0, count, 20)]
    golds, found = exact.search(asked, 10), built.search(asked, 10)
    shared = [len({*ids(a)} & {*ids(b)}) / 10 for a, b in zip(golds, found, strict=True)]
    assert np.mean(shared) >= 0.95
    for gold, hits in zip(golds, found, strict=True):
        assert gold[0].passage.id == hits[0].passage.id  # a vector is its own neighbour
        scores = {hit.passage.id: hit.score for hit in gold}
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        for hit in hits:
            assert hit.score == pytest.approx(scores.get(hit.passage.id, hit.score), abs=1e-5)

    def never(texts):
        raise AssertionError("the index is on disk")

    opened = Approximate(passages(count), never, embed, path=path)
    assert [ids(hits) for hits in opened.search(asked, 10)] == [ids(hits) for hits in found]
    with pytest.raises(DataError, match="index of 2000 passages, expected 3"):
        Approximate(passages(3), never, path=path)
    path.write_text("no index")
    with pytest.raises(DataError, match="no index of usearch"):
        Approximate(passages(count), never, path=path)


def test_a_small_approximate_index_gives_all_it_has():
    pytest.importorskip("usearch")
    index = Approximate(passages(3), embedding(3))
    assert sorted(ids(index.search(["query 1"], 10)[0])) == ["0", "1", "2"]
    assert index.search([], 3) == []
