"""Retrieval: BM25 against an independent computation, vectors, fusion, recordings, corpus files."""

import json
import math
import pickle
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turngym.envs.retrieval.bm25 import BM25
from turngym.envs.retrieval.passages import Hit, Passage, parse_contents, read_corpus, render_hits
from turngym.envs.retrieval.recording import Recording
from turngym.envs.retrieval.vectors import Dense, Hybrid
from turngym.errors import DataError, EnvironmentFailure

WORDS = ["kato", "miru", "sola", "venti", "dorak"]  # the stemmer leaves these as they are
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8), min_size=1, max_size=9)


def passages(*texts):
    return [Passage(id=f"p{n}", text=text) for n, text in enumerate(texts)]


def ids(hits):
    return [hit.passage.id for hit in hits]


def brute_force(texts, query, k1=1.2, b=0.75):
    """BM25 of Robertson and Zaragoza with Lucene's idf, straight from the formula."""
    mean = sum(map(len, texts)) / len(texts)
    scores = []
    for words in texts:
        total = 0.0
        for term in query:
            frequency = Counter(words)[term]
            matching = sum(term in other for other in texts)
            idf = math.log(1 + (len(texts) - matching + 0.5) / (matching + 0.5))
            norm = k1 * (1 - b + b * len(words) / mean)
            total += idf * frequency * (k1 + 1) / (frequency + norm)
        scores.append(total)
    return scores


@settings(max_examples=30, deadline=None)
@given(TEXTS, st.lists(st.sampled_from(WORDS), min_size=1, max_size=4))
def test_scores_are_those_of_the_formula_and_ties_keep_the_order_of_the_corpus(texts, query):
    index = BM25(passages(*(" ".join(words) for words in texts)), heap_bytes=15_000_000)
    hits = index.search([" ".join(query)], k=20)[0]
    wanted = {f"p{n}": score for n, score in enumerate(brute_force(texts, query)) if score > 0}
    assert {hit.passage.id: hit.score for hit in hits} == pytest.approx(wanted, rel=1e-4)
    places = [(-hit.score, int(hit.passage.id[1:])) for hit in hits]
    assert places == sorted(places)


def test_words_are_stemmed_and_stop_words_and_punctuation_ignored():
    index = BM25(passages("Running shoes, red.", "The blue boat"))
    assert ids(index.search(["the SHOE that runs?"], 5)[0]) == ["p0"]
    assert index.search(["the of", "", "?!"], 5) == [(), (), ()]
    assert index.search(["(red AND text:blue)^9"], 5)[0]  # no query language to fall over


def test_the_title_is_searched_and_comes_back():
    index = BM25([Passage(id="7", title="Kato", text="a town\non a river")])
    hit = index.search(["kato"], 1)[0][0]
    assert hit.passage == Passage(id="7", title="Kato", text="a town\non a river")


def test_a_cached_index_is_built_once_and_keyed_by_content(tmp_path):
    corpus = passages("kato miru", "sola")
    first = BM25.cached(corpus, tmp_path)
    (folder,) = tmp_path.iterdir()
    stamp = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = BM25.cached(corpus, tmp_path)
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir() if p.name in stamp} == stamp
    assert again.search(["kato"], 3) == first.search(["kato"], 3) != [()]
    BM25.cached([*corpus[:1], Passage(id="p1", text="sola!")], tmp_path)
    assert len([p for p in tmp_path.iterdir() if not p.name.startswith(".")]) == 2


def test_a_cached_index_is_the_same_in_another_process(tmp_path):
    corpus = passages("kato miru", "sola kato", "venti", "kato")
    code = (
        "import sys; from turngym.envs.retrieval.bm25 import BM25;"
        "from turngym.envs.retrieval.passages import Passage;"
        f"c = [Passage(id=i, text=t) for i, t in {[(p.id, p.text) for p in corpus]!r}];"
        f"print([h.passage.id for h in BM25.cached(c, {str(tmp_path)!r}).search(['kato'], 9)[0]])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(ids(BM25(corpus).search(["kato"], 9)[0]))


def test_an_index_of_a_file_is_rebuilt_when_the_file_changes_and_only_then(tmp_path):
    path, cache = tmp_path / "c.jsonl", tmp_path / "cache"
    path.write_text('{"id": 1, "contents": "T\\nkato"}\n')
    assert ids(BM25.of_file(path, cache).search(["kato"], 1)[0]) == ["1"]
    BM25.of_file(path, cache)
    assert len(list(cache.iterdir())) == 1
    path.write_text('{"id": 22, "contents": "T\\nkato"}\n')
    index = BM25.of_file(path, cache)
    assert ids(index.search(["kato"], 1)[0]) == ["22"] and len(index) == 1
    assert ids(pickle.loads(pickle.dumps(index)).search(["kato"], 1)[0]) == ["22"]
    path.write_text('{"id": 1, "contents": "a"}\n{"id": "1", "contents": "b"}\n')
    with pytest.raises(DataError, match="'1' comes twice"):
        BM25.of_file(path, cache)
    assert not [item for item in cache.iterdir() if item.name.startswith(".")]  # nothing half built


def test_a_passage_id_that_comes_twice_is_refused():
    with pytest.raises(DataError, match="'x' comes twice"):
        BM25([Passage(id="x", text="a"), Passage(id="x", text="b")])
    with pytest.raises(ValueError, match="at least 1"):
        BM25(passages("a")).search(["a"], 0)


def embed(texts):
    return np.array([[text.count(letter) for letter in "abc"] for text in texts], dtype=np.float32)


def test_dense_search_by_hand():
    index = Dense(
        [Passage(id=n, text=t) for n, t in zip("xyz", ["a", "bb", "ab"], strict=True)], embed
    )
    hits = index.search(["aab"], 3)[0]
    # cosines with (2,1): a 2/sqrt5, b 1/sqrt5, ab 3/sqrt10
    assert ids(hits) == ["z", "x", "y"]
    assert [h.score for h in hits] == pytest.approx([3 / 10**0.5, 2 / 5**0.5, 1 / 5**0.5])
    with pytest.raises(ValueError, match=r"\[1, d\]"):
        Dense(passages("a"), lambda texts: np.zeros(3, dtype=np.float32))


class Fixed:
    """A retriever that knows its answers."""

    def __init__(self, **answers):
        self.answers, self.asked = answers, []

    def search(self, queries, k):
        self.asked.append(tuple(queries))
        return [
            tuple(Hit(passage=Passage(id=id, text=id), score=1.0) for id in self.answers[q][:k])
            for q in queries
        ]


def test_rank_fusion_by_hand():
    mixed = Hybrid([Fixed(q="abc"), Fixed(q="cd")], offset=60)
    hits = mixed.search(["q"], 3)[0]
    # c: 1/63 + 1/61, a: 1/61, then b and d tie at 1/62 and the id decides.
    assert ids(hits) == ["c", "a", "b"]
    assert hits[0].score == pytest.approx(1 / 63 + 1 / 61)


def test_a_recording_asks_once_and_replays_without_its_source(tmp_path):
    path, source = tmp_path / "searches.jsonl", Fixed(q="ab", r="c")
    live = Recording(path, source)
    first = live.search(["q", "r", "q"], 2)
    live.search(["q"], 2)
    assert source.asked == [("q", "r")]
    replay = Recording(path)
    assert replay.search(["q", "r", "q"], 2) == first
    with pytest.raises(EnvironmentFailure, match="k=1"):
        replay.search(["q"], 1)
    path.write_text('{"query": "q"}\n')
    with pytest.raises(DataError, match="jsonl:1"):
        Recording(path)
    path.write_text("no recording\n")
    with pytest.raises(DataError, match="jsonl:1"):
        Recording(path)


def test_a_recording_cut_off_by_a_kill_goes_on_after_its_whole_lines(tmp_path):
    path = tmp_path / "searches.jsonl"
    index = BM25(passages("kato miru", "sola"))
    Recording(path, index).search(["kato", "sola"], 1)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        found = Recording(path, index).search(["kato", "sola"], 1)
        assert (
            found
            == Recording(path).search(["kato", "sola"], 1)
            == index.search(["kato", "sola"], 1)
        )


def test_corpus_files_and_their_faults(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"id": 3, "contents": "\\"Kato\\"\\nA town.\\nBig."}\n\n')
    (passage,) = read_corpus(path)
    assert passage == Passage(id="3", title="Kato", text="A town.\nBig.")
    assert parse_contents("3", passage.contents) == passage
    assert render_hits([Hit(passage=passage, score=1)]) == "Doc 1(Title: Kato) A town.\nBig.\n"
    for bad, message in [
        ("{", r"c\.jsonl:1: not valid JSON"),
        ('{"id": 1}', r"c\.jsonl:1: a passage looks like"),
        ('{"id": 1, "contents": "a"}\n[]', r"c\.jsonl:2: a passage looks like"),
    ]:
        path.write_text(bad)
        with pytest.raises(DataError, match=message):
            list(read_corpus(path))
    with pytest.raises(DataError, match="cannot read"):
        list(read_corpus(tmp_path / "none"))


@given(st.text(), st.text(alphabet=st.characters(exclude_characters="\n\r")))
def test_contents_survive_the_round_trip(text, title):
    passage = Passage(id="1", title=title, text=text)
    assert parse_contents("1", json.loads(json.dumps(passage.contents))) == passage
